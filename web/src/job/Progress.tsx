import type { JobPartsFragment } from "../gql/graphql";
import { between, clock, duration } from "../ui/format";
import { useNow } from "../ui/useNow";
import classes from "./Progress.module.css";
import { STEPS, stepOf } from "./standing";

/** How far an execution is; null: it is just being started. */
export function Progress({ execution }: { execution: JobPartsFragment["latestExecution"] }) {
  const now = useNow(1_000);
  const step = stepOf({ latestExecution: execution });
  return (
    <div className={classes.progress}>
      <ol className={classes.steps} aria-label="Progress">
        {STEPS.map((name, index) => (
          <li
            key={name}
            data-state={index < step ? "done" : index === step ? "now" : "ahead"}
            aria-current={index === step ? "step" : undefined}
          >
            {name}
          </li>
        ))}
      </ol>
      <p className={classes.line}>
        {execution && (
          <>
            Attempt {execution.number} · {duration(between(execution.queuedAt, now))}
            {execution.nextRetryAt && <> · asked again at {clock(execution.nextRetryAt)}</>}
          </>
        )}
      </p>
    </div>
  );
}
