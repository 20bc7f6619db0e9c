import { Button } from "@mantine/core";
import type { AgentPartsFragment } from "../gql/graphql";
import classes from "../job/JobForm.module.css";
import { Dialog } from "../ui/Dialog";
import { DialogFoot } from "../ui/DialogFoot";
import { useUpdateAgent } from "./useAgentAction";

export function DisableDialog({ agent, onClose }: { agent: AgentPartsFragment; onClose: () => void }) {
  const update = useUpdateAgent();
  return (
    <Dialog title={`Disable ${agent.name}`} onClose={onClose}>
      <div className={classes.form}>
        <p>
          Calls under way finish; what has not been sent yet fails, and its job goes back to the status before. Nothing
          new is sent to the agent until it is enabled again.
        </p>
        <DialogFoot error={update.error}>
          <Button
            data-autofocus
            loading={update.isPending}
            onClick={() => update.mutate({ agentId: agent.id, enabled: false }, { onSuccess: onClose })}
          >
            Disable
          </Button>
          <Button variant="default" onClick={onClose}>
            Keep it enabled
          </Button>
        </DialogFoot>
      </div>
    </Dialog>
  );
}
