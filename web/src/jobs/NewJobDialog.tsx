import { TextInput } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { useLocation } from "wouter";
import { accepted, ask, UnreachableError } from "../api/ask";
import { compactJson } from "../api/json";
import { CreateJobDocument } from "../gql/graphql";
import { AgentSelect } from "../job/AgentSelect";
import { emptyDraft, fieldsOf, type JobFields } from "../job/draft";
import { JobForm } from "../job/JobForm";
import { useViewer } from "../session/useViewer";
import { Dialog } from "../ui/Dialog";
import { isChanged } from "../ui/isChanged";
import { newKey } from "../ui/newKey";
import { refusalAt } from "../ui/refusals";
import { useOneMutation } from "../ui/useOneMutation";

const TRIES = 3;

export function NewJobDialog({ onClose }: { onClose: () => void }) {
  const queries = useQueryClient();
  const [, go] = useLocation();
  const admin = useViewer().role === "ADMIN";
  const [initial] = useState(emptyDraft);
  const [draft, setDraft] = useState(initial);
  const [ownerId, setOwnerId] = useState("");
  const [agentId, setAgentId] = useState("");
  // The same form sent twice makes one job, also where no answer came; what was refused is not remembered by its key.
  const sent = useRef({ form: "", idempotencyKey: "" });
  const create = useOneMutation({
    mutationFn: async (fields: JobFields) => {
      const input = { ...fields, agentId: agentId || null, ownerId: ownerId || null };
      const form = compactJson(input);
      if (form !== sent.current.form) sent.current = { form, idempotencyKey: newKey() };
      const { idempotencyKey } = sent.current;
      return accepted((await ask(CreateJobDocument, { input: { ...input, idempotencyKey } })).createJob);
    },
    retry: (failures, error) => error instanceof UnreachableError && failures < TRIES,
    onSuccess: ({ job }) => {
      void queries.invalidateQueries({ queryKey: ["jobs"] });
      if (job) go(`${admin ? "/admin" : ""}/jobs/${job.id}`);
    },
  });
  const unsaved = agentId !== "" || ownerId !== "" || isChanged(draft, initial);
  return (
    <Dialog title="New job" size="xl" onClose={onClose} unsaved={unsaved}>
      <JobForm
        draft={draft}
        onChange={setDraft}
        submitLabel="Create"
        pending={create.isPending}
        error={create.error}
        onSubmit={() => create.mutate(fieldsOf(draft))}
        onCancel={onClose}
      >
        <AgentSelect value={agentId} onChange={setAgentId} none="Assign one later" />
        {admin && (
          <TextInput
            label="Owner"
            description="The id of the person whose job it is; empty: yours"
            value={ownerId}
            onChange={(event) => setOwnerId(event.currentTarget.value)}
            error={refusalAt(create.error, "ownerId")}
          />
        )}
      </JobForm>
    </Dialog>
  );
}
