import { Button } from "@mantine/core";
import { type FormEvent, useState } from "react";
import type { JobPartsFragment } from "../gql/graphql";
import { Dialog } from "../ui/Dialog";
import { DialogFoot } from "../ui/DialogFoot";
import { AgentSelect } from "./AgentSelect";
import classes from "./JobForm.module.css";
import { useAssign } from "./useJobAction";

export function AssignDialog({ job, onClose }: { job: JobPartsFragment; onClose: () => void }) {
  const [agentId, setAgentId] = useState(job.agent?.id ?? "");
  const assign = useAssign(job.id);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    assign.mutate({ agentId, expectedRevision: job.revision }, { onSuccess: onClose });
  };
  return (
    <Dialog title={job.agent ? "Change the agent" : "Assign an agent"} onClose={onClose}>
      <form onSubmit={submit} className={classes.form}>
        <AgentSelect value={agentId} onChange={setAgentId} />
        <DialogFoot error={assign.error}>
          <Button type="submit" loading={assign.isPending} disabled={agentId === ""}>
            Assign
          </Button>
          <Button variant="default" onClick={onClose}>
            Cancel
          </Button>
        </DialogFoot>
      </form>
    </Dialog>
  );
}
