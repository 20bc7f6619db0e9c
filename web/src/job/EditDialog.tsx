import { useState } from "react";
import type { JobPartsFragment } from "../gql/graphql";
import { Dialog } from "../ui/Dialog";
import { isChanged } from "../ui/isChanged";
import { changesOf, draftOf } from "./draft";
import { JobForm } from "./JobForm";
import { useUpdate } from "./useJobAction";

export function EditDialog({ job, onClose }: { job: JobPartsFragment; onClose: () => void }) {
  const update = useUpdate(job.id);
  // The page follows the job, the form does not: what it was opened on is what it changes.
  const [opened] = useState(job);
  const [draft, setDraft] = useState(() => draftOf(job));
  const save = () => {
    const changes = changesOf(draftOf(opened), draft);
    if (Object.keys(changes).length === 0) onClose();
    else update.mutate({ ...changes, expectedRevision: opened.revision }, { onSuccess: onClose });
  };
  const unsaved = isChanged(draft, draftOf(opened));
  return (
    <Dialog title="Edit the job" size="xl" onClose={onClose} unsaved={unsaved}>
      <JobForm
        draft={draft}
        onChange={setDraft}
        submitLabel="Save"
        pending={update.isPending}
        error={update.error}
        onSubmit={save}
        onCancel={onClose}
      />
    </Dialog>
  );
}
