import { Button, Checkbox, Textarea } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { readJson } from "../api/json";
import type { JobPartsFragment } from "../gql/graphql";
import { Dialog } from "../ui/Dialog";
import { DialogFoot } from "../ui/DialogFoot";
import { JsonInput } from "../ui/JsonInput";
import { focusOnRefused } from "../ui/refusals";
import { AgentSelect } from "./AgentSelect";
import { jsonProblem } from "./draft";
import classes from "./JobForm.module.css";
import type { Override } from "./overrides";
import { pressOf, useForceAssign, useForceComplete, useForceExecute, useForceResubmission } from "./useJobAction";

interface OverrideDialogProps {
  override: Override;
  job: JobPartsFragment;
  onClose: () => void;
}

export function OverrideDialog({ override: { action, name, consequence }, job, onClose }: OverrideDialogProps) {
  const [reason, setReason] = useState("");
  const [agentId, setAgentId] = useState(job.agent?.id ?? "");
  const [own, setOwn] = useState(job.latestExecution === null);
  const [result, setResult] = useState("");
  const actions = {
    FORCE_EXECUTE: useForceExecute(job.id),
    FORCE_ASSIGN: useForceAssign(job.id),
    FORCE_COMPLETE: useForceComplete(job.id),
    FORCE_RESUBMISSION: useForceResubmission(job.id),
  };
  const { isPending, error } = actions[action];
  const done = { onSuccess: onClose };
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    switch (action) {
      case "FORCE_EXECUTE":
        return actions[action].mutate({ ...pressOf(job), reason }, done);
      case "FORCE_ASSIGN":
        return actions[action].mutate({ agentId, reason }, done);
      case "FORCE_COMPLETE":
        if (own && jsonProblem(result)) return void focusOnRefused(event.currentTarget);
        return actions[action].mutate(own ? { result: readJson(result), reason } : { reason }, done);
      case "FORCE_RESUBMISSION":
        return actions[action].mutate({ reason }, done);
    }
  };
  return (
    <Dialog title={name} onClose={onClose} unsaved={reason !== "" || result !== ""}>
      <form onSubmit={submit} className={classes.form}>
        <p>{consequence(job)}</p>
        {action === "FORCE_ASSIGN" && <AgentSelect value={agentId} onChange={setAgentId} />}
        {action === "FORCE_COMPLETE" && job.latestExecution && (
          <Checkbox
            label="Give another result than the latest answer"
            checked={own}
            onChange={(event) => setOwn(event.currentTarget.checked)}
          />
        )}
        {action === "FORCE_COMPLETE" && own && (
          <JsonInput label="Result" description="As JSON" value={result} onChange={setResult} />
        )}
        <Textarea
          label="Reason"
          description="Kept in the log under your name"
          data-autofocus={action === "FORCE_ASSIGN" ? undefined : true}
          required
          withAsterisk={false}
          rows={2}
          value={reason}
          onChange={(event) => setReason(event.currentTarget.value)}
        />
        <DialogFoot error={error}>
          <Button type="submit" loading={isPending} disabled={reason.trim() === ""}>
            {name}
          </Button>
          <Button variant="default" onClick={onClose}>
            Keep as it is
          </Button>
        </DialogFoot>
      </form>
    </Dialog>
  );
}
