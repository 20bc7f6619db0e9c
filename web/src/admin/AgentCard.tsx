import { Button } from "@mantine/core";
import type { AgentPartsFragment } from "../gql/graphql";
import { Badge } from "../ui/Badge";
import { Card } from "../ui/Card";
import { Trouble } from "../ui/Trouble";
import { useErrorsUntil } from "../ui/useErrorsUntil";
import classes from "./AgentCard.module.css";
import { AgentHistory } from "./AgentHistory";
import { RecordStrip } from "./RecordStrip";
import { useUpdateAgent } from "./useAgentAction";

interface AgentCardProps {
  agent: AgentPartsFragment;
  open: (dialog: "edit" | "disable" | "preview") => void;
}

const ENABLED = { name: "Enabled", tone: "good" } as const;
const DISABLED = { name: "Disabled", tone: "quiet" } as const;

export function AgentCard({ agent, open }: AgentCardProps) {
  const update = useUpdateAgent();
  useErrorsUntil(String(agent.enabled), [update]);
  return (
    <Card
      title={agent.name}
      note={<Badge {...(agent.enabled ? ENABLED : DISABLED)} />}
      actions={
        <>
          <Button size="compact-sm" variant="default" onClick={() => open("preview")}>
            Preview a request
          </Button>
          <Button size="compact-sm" variant="default" onClick={() => open("edit")}>
            Edit
          </Button>
          {agent.enabled ? (
            <Button size="compact-sm" variant="default" onClick={() => open("disable")}>
              Disable
            </Button>
          ) : (
            <Button
              size="compact-sm"
              variant="default"
              loading={update.isPending}
              onClick={() => update.mutate({ agentId: agent.id, enabled: true })}
            >
              Enable
            </Button>
          )}
        </>
      }
    >
      <div className={classes.body}>
        <p className={classes.line}>
          <code>{agent.endpointUrl}</code>
        </p>
        <p className={classes.line}>{factsOf(agent)}</p>
        <RecordStrip agentId={agent.id} />
        <AgentHistory agentId={agent.id} />
        <Trouble error={update.error} />
      </div>
    </Card>
  );
}

function factsOf(agent: AgentPartsFragment): string {
  return [
    agent.executor,
    `${agent.timeoutSeconds} s time-out`,
    `${agent.maxConcurrentExecutions} at once`,
    agent.idempotent ? "may be asked twice" : "asked once only",
    agent.hasSecret ? "with a secret" : "without a secret",
    agent.validator ? `judged by ${agent.validator}` : null,
  ]
    .filter((fact) => fact !== null)
    .join(" · ");
}
