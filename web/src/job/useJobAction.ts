import { useQueryClient } from "@tanstack/react-query";
import { accepted, ask, UnreachableError } from "../api/ask";
import { jobQuery } from "../api/queries";
import {
  AssignJobDocument,
  CancelExecutionDocument,
  ExecuteJobDocument,
  ForceAssignDocument,
  ForceCompleteDocument,
  ForceResubmissionDocument,
  type JobPartsFragment,
  type RefusalFragment,
  RetryValidationDocument,
  UpdateJobDocument,
  type UpdateJobInput,
} from "../gql/graphql";
import { newKey } from "../ui/newKey";
import { useOneMutation } from "../ui/useOneMutation";

interface Payload {
  job: JobPartsFragment | null;
  userErrors: RefusalFragment[];
}

const TRIES = 3;

// Sent at once and not waited for: the feed tells the rest.
const NOW = { waitSeconds: 0 };

/** Something done to a job; what the job has become is shown whether it was refused or not. */
function useJobAction<Input>(jobId: string, send: (input: Input) => Promise<Payload>, tries = 0) {
  const queries = useQueryClient();
  return useOneMutation({
    mutationFn: async (input: Input) => {
      const payload = await send(input);
      const { job } = payload;
      if (job) queries.setQueryData(jobQuery(jobId).queryKey, (before) => before && { ...before, job });
      return accepted(payload);
    },
    retry: (failures, error) => error instanceof UnreachableError && failures < tries,
    onSettled: () => {
      void queries.invalidateQueries({ queryKey: ["job", jobId] });
      void queries.invalidateQueries({ queryKey: ["jobs"] });
    },
  });
}

/** Each press has a key of its own, so that a press whose answer was lost can be repeated without a second execution. */
export interface Press {
  idempotencyKey: string;
  expectedRevision: number;
}

export const pressOf = ({ revision }: { revision: number }): Press => ({
  idempotencyKey: newKey(),
  expectedRevision: revision,
});

export const useExecute = (jobId: string) =>
  useJobAction(
    jobId,
    async (press: Press) => (await ask(ExecuteJobDocument, { input: { jobId, ...NOW, ...press } })).executeJob,
    TRIES,
  );

export const useForceExecute = (jobId: string) =>
  useJobAction(
    jobId,
    async ({ reason, ...press }: Press & { reason: string }) =>
      (await ask(ExecuteJobDocument, { input: { jobId, ...NOW, ...press, force: true, reason } })).executeJob,
    TRIES,
  );

export const useRetryValidation = (jobId: string) =>
  useJobAction(
    jobId,
    async (_: null) => (await ask(RetryValidationDocument, { input: { jobId, ...NOW } })).retryValidation,
  );

export const useCancel = (jobId: string) =>
  useJobAction(
    jobId,
    async (executionId: string | null) =>
      (await ask(CancelExecutionDocument, { input: { jobId, executionId } })).cancelExecution,
  );

export const useAssign = (jobId: string) =>
  useJobAction(
    jobId,
    async (input: { agentId: string; expectedRevision: number }) =>
      (await ask(AssignJobDocument, { input: { jobId, ...input } })).assignJob,
  );

export const useUpdate = (jobId: string) =>
  useJobAction(
    jobId,
    async (input: Omit<UpdateJobInput, "jobId">) =>
      (await ask(UpdateJobDocument, { input: { jobId, ...input } })).updateJob,
  );

export const useForceAssign = (jobId: string) =>
  useJobAction(
    jobId,
    async (input: { agentId: string; reason: string }) =>
      (await ask(ForceAssignDocument, { input: { jobId, ...input } })).forceAssignJob,
  );

export const useForceComplete = (jobId: string) =>
  useJobAction(
    jobId,
    async (input: { result?: unknown; reason: string }) =>
      (await ask(ForceCompleteDocument, { input: { jobId, ...input } })).forceCompleteJob,
  );

export const useForceResubmission = (jobId: string) =>
  useJobAction(
    jobId,
    async (input: { reason: string }) =>
      (await ask(ForceResubmissionDocument, { input: { jobId, ...input } })).forceResubmission,
  );
