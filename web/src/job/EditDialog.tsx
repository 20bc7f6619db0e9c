import { useState } from "react";
import type { JobPartsFragment } from "../gql/graphql";
import { draftOf, type JobFields } from "./draft";
import { JobForm } from "./JobForm";
import { useUpdate } from "./useJobAction";

export function EditDialog({ job, onClose }: { job: JobPartsFragment; onClose: () => void }) {
  const update = useUpdate(job.id);
  // The page follows the job, the form does not: what it was opened on is what it changes.
  const [opened] = useState(job);
  const save = (fields: JobFields) =>
    update.mutate({ ...fields, expectedRevision: opened.revision }, { onSuccess: onClose });
  return (
    <JobForm
      title="Edit the job"
      initial={draftOf(opened)}
      submitLabel="Save"
      pending={update.isPending}
      error={update.error}
      onSubmit={save}
      onClose={onClose}
    />
  );
}
