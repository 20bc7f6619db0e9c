import { Button, Checkbox, NativeSelect, PasswordInput, TextInput } from "@mantine/core";
import { type FormEvent, useState } from "react";
import type { AgentPartsFragment } from "../gql/graphql";
import classes from "../job/JobForm.module.css";
import { Dialog } from "../ui/Dialog";
import { DialogFoot } from "../ui/DialogFoot";
import { isChanged } from "../ui/isChanged";
import { JsonInput } from "../ui/JsonInput";
import { focusOnRefused, refusalAt } from "../ui/refusals";
import rows from "./AgentDialog.module.css";
import {
  type AgentDraft,
  agentDraftOf,
  changesOf,
  emptyAgentDraft,
  isSendable,
  newAgentOf,
  schemaProblem,
} from "./agentDraft";
import { useCreateAgent, useUpdateAgent } from "./useAgentAction";

interface AgentDialogProps {
  /** Null: a new one. */
  agent: AgentPartsFragment | null;
  executors: readonly string[];
  validators: readonly string[];
  onClose: () => void;
}

export function AgentDialog({ agent, executors, validators, onClose }: AgentDialogProps) {
  const [initial] = useState(() => (agent ? agentDraftOf(agent) : emptyAgentDraft(executors[0] ?? "http_json")));
  const [draft, setDraft] = useState(initial);
  const create = useCreateAgent();
  const update = useUpdateAgent();
  const { error } = agent ? update : create;
  const change = (part: Partial<AgentDraft>) => setDraft((before) => ({ ...before, ...part }));
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (!isSendable(draft)) return void focusOnRefused(event.currentTarget);
    const done = { onSuccess: onClose };
    if (agent) update.mutate(changesOf(agent.id, draft), done);
    else create.mutate(newAgentOf(draft), done);
  };
  return (
    <Dialog
      title={agent ? `Edit ${agent.name}` : "Register an agent"}
      size="xl"
      onClose={onClose}
      unsaved={isChanged(draft, initial)}
    >
      <form onSubmit={submit} className={classes.form}>
        <TextInput
          label="Name"
          required
          withAsterisk={false}
          data-autofocus
          error={refusalAt(error, "name")}
          value={draft.name}
          onChange={(event) => change({ name: event.currentTarget.value })}
        />
        <TextInput
          label="Address"
          description="Where its requests are sent; checked when you save, and again before each call"
          type="url"
          placeholder="https://agent.example/run"
          required
          withAsterisk={false}
          error={refusalAt(error, "endpointUrl")}
          value={draft.endpointUrl}
          onChange={(event) => change({ endpointUrl: event.currentTarget.value })}
        />
        <div className={rows.row}>
          <NativeSelect
            label="Called by"
            disabled={agent !== null}
            value={draft.executor}
            data={[...executors]}
            onChange={(event) => change({ executor: event.currentTarget.value })}
          />
          <NativeSelect
            label="Judged by"
            value={draft.validator}
            data={[{ value: "", label: "The service’s own" }, ...validators]}
            onChange={(event) => change({ validator: event.currentTarget.value })}
          />
        </div>
        <JsonInput
          label="Input schema"
          description="JSON Schema of what it is sent; empty: anything"
          optional
          value={draft.inputSchema}
          onChange={(inputSchema) => change({ inputSchema })}
          error={schemaProblem(draft.inputSchema) ?? refusalAt(error, "inputSchema")}
        />
        <JsonInput
          label="Output schema"
          description="JSON Schema that its answers must meet; empty: anything"
          optional
          value={draft.outputSchema}
          onChange={(outputSchema) => change({ outputSchema })}
          error={schemaProblem(draft.outputSchema) ?? refusalAt(error, "outputSchema")}
        />
        <JsonInput
          label="Input mapping"
          description="Property name to CEL expression over job and previous; empty: by matching names"
          optional
          rows={3}
          value={draft.inputMapping}
          onChange={(inputMapping) => change({ inputMapping })}
          error={refusalAt(error, "inputMapping")}
        />
        <div className={rows.row}>
          <TextInput
            label="Time-out in seconds"
            type="number"
            min={0.1}
            max={900}
            step="any"
            required
            withAsterisk={false}
            error={refusalAt(error, "timeoutSeconds")}
            value={draft.timeoutSeconds}
            onChange={(event) => change({ timeoutSeconds: event.currentTarget.value })}
          />
          <TextInput
            label="Executions at once"
            type="number"
            min={1}
            required
            withAsterisk={false}
            error={refusalAt(error, "maxConcurrentExecutions")}
            value={draft.maxConcurrentExecutions}
            onChange={(event) => change({ maxConcurrentExecutions: event.currentTarget.value })}
          />
        </div>
        <Checkbox
          label="May be asked twice"
          description="It promises that a request repeated with the same key has no second effect"
          checked={draft.idempotent}
          onChange={(event) => change({ idempotent: event.currentTarget.checked })}
        />
        <PasswordInput
          label="Secret"
          description={
            agent?.hasSecret
              ? "It has one, which is never shown; type another to replace it"
              : "Sent as a bearer token and used to sign requests"
          }
          autoComplete="new-password"
          error={refusalAt(error, "secret")}
          value={draft.secret}
          onChange={(event) => change({ secret: event.currentTarget.value })}
        />
        <DialogFoot error={error}>
          <Button type="submit" loading={create.isPending || update.isPending}>
            {agent ? "Save" : "Register"}
          </Button>
          <Button variant="default" onClick={onClose}>
            Cancel
          </Button>
        </DialogFoot>
      </form>
    </Dialog>
  );
}
