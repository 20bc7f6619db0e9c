import { Button } from "@mantine/core";
import { IconPencil, IconPlayerPlayFilled, IconPlayerStop, IconRefresh, IconRobot } from "@tabler/icons-react";
import { useRef } from "react";
import type { JobPartsFragment } from "../gql/graphql";
import { StatusBadge } from "../ui/Badge";
import { Trouble } from "../ui/Trouble";
import { useErrorsUntil } from "../ui/useErrorsUntil";
import type { OpenDialog } from "./JobPage";
import { Progress } from "./Progress";
import classes from "./StatusCard.module.css";
import { standingOf, stateOf } from "./standing";
import { pressOf, useCancel, useExecute, useRetryValidation } from "./useJobAction";

const STARTING = { tone: "running", headline: "Starting", detail: "The job is handed over." } as const;

/** Where the job stands, why, and what to press. */
export function StatusCard({ job, open }: { job: JobPartsFragment; open: (dialog: OpenDialog) => void }) {
  const execute = useExecute(job.id);
  const retry = useRetryValidation(job.id);
  const cancel = useCancel(job.id);
  const heading = useRef<HTMLHeadingElement>(null);
  const actions = [execute, retry, cancel];
  const may = new Set(job.availableActions);
  const running = job.status === "IN_EXECUTION";
  const standing = execute.isPending && !running ? STARTING : standingOf(job);
  useErrorsUntil(stateOf(job), actions);
  // A refusal stays until something else is tried, or the job is no longer what was refused.
  const run = (action: () => void) => {
    for (const { error, reset } of actions) if (error) reset();
    action();
    // The button is disabled now, and perhaps gone next: the keyboard goes on from what comes of it.
    heading.current?.focus({ preventScroll: true });
  };
  const canValidate = may.has("RETRY_VALIDATION");
  return (
    <section className={classes.card} data-tone={standing.tone} aria-labelledby="standing">
      <div className={classes.standing}>
        <div className={classes.words}>
          <StatusBadge status={job.status} />
          <div aria-live="polite">
            <h2 ref={heading} id="standing" tabIndex={-1}>
              {standing.headline}
            </h2>
            <p className={classes.detail}>{standing.detail}</p>
          </div>
        </div>
        <div className={classes.actions}>
          {canValidate && (
            <Button
              size="md"
              leftSection={<IconRefresh size={16} aria-hidden />}
              loading={retry.isPending}
              onClick={() => run(() => retry.mutate(null))}
            >
              {running ? "Validate now" : "Validate again"}
            </Button>
          )}
          {may.has("EXECUTE") && (
            <Button
              size="md"
              variant={canValidate ? "default" : "filled"}
              leftSection={<IconPlayerPlayFilled size={16} aria-hidden />}
              loading={execute.isPending}
              onClick={() => run(() => execute.mutate(pressOf(job)))}
            >
              {job.latestExecution ? "Execute again" : "Execute"}
            </Button>
          )}
          {may.has("ASSIGN") && (
            <Button
              size="md"
              variant={job.agent ? "default" : "filled"}
              leftSection={<IconRobot size={16} aria-hidden />}
              onClick={() => open("assign")}
            >
              {job.agent ? "Change agent" : "Assign an agent"}
            </Button>
          )}
          {may.has("EDIT") && (
            <Button
              size="md"
              variant="default"
              leftSection={<IconPencil size={16} aria-hidden />}
              onClick={() => open("edit")}
            >
              Edit
            </Button>
          )}
          {may.has("CANCEL") && (
            <Button
              size="md"
              variant="default"
              leftSection={<IconPlayerStop size={16} aria-hidden />}
              loading={cancel.isPending}
              onClick={() => run(() => cancel.mutate(job.latestExecution?.id ?? null))}
            >
              Cancel
            </Button>
          )}
        </div>
      </div>
      {(running || execute.isPending) && <Progress execution={running ? job.latestExecution : null} />}
      {actions.map(({ error }, index) => error && <Trouble key={index} error={error} />)}
    </section>
  );
}
