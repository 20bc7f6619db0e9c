import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useLocation } from "wouter";
import { accepted, ask, UnreachableError } from "../api/ask";
import { CreateJobDocument } from "../gql/graphql";
import { AgentSelect } from "../job/AgentSelect";
import { emptyDraft, type JobFields } from "../job/draft";
import { JobForm } from "../job/JobForm";
import { Dialog } from "../ui/Dialog";
import { newKey } from "../ui/newKey";

const TRIES = 3;

export function NewJobDialog({ onClose }: { onClose: () => void }) {
  const queries = useQueryClient();
  const [, go] = useLocation();
  const [agentId, setAgentId] = useState("");
  // The same form sent twice makes one job; what was refused is not remembered by its key.
  const [idempotencyKey, setIdempotencyKey] = useState(newKey);
  const create = useMutation({
    mutationFn: async (fields: JobFields) => {
      const input = { ...fields, agentId: agentId || null, idempotencyKey };
      return accepted((await ask(CreateJobDocument, { input })).createJob);
    },
    retry: (failures, error) => error instanceof UnreachableError && failures < TRIES,
    onSuccess: ({ job }) => {
      void queries.invalidateQueries({ queryKey: ["jobs"] });
      if (job) go(`/jobs/${job.id}`);
    },
    onError: () => setIdempotencyKey(newKey()),
  });
  return (
    <Dialog title="New job" size="xl" onClose={onClose}>
      <JobForm
        initial={emptyDraft()}
        submitLabel="Create"
        pending={create.isPending}
        error={create.error}
        onSubmit={create.mutate}
        onCancel={onClose}
      >
        <AgentSelect value={agentId} onChange={setAgentId} none="Assign one later" />
      </JobForm>
    </Dialog>
  );
}
