import { useState } from "react";
import { isStale } from "../api/ask";
import type { JobPartsFragment } from "../gql/graphql";
import { Dialog } from "../ui/Dialog";
import { isChanged } from "../ui/isChanged";
import { changesOf, type Draft, draftOf, rebased } from "./draft";
import { EditConflict } from "./EditConflict";
import { JobForm } from "./JobForm";
import { useUpdate } from "./useJobAction";

export function EditDialog({ job, onClose }: { job: JobPartsFragment; onClose: () => void }) {
  const update = useUpdate(job.id);
  // The page follows the job, the form does not: it changes what it was opened on, until one goes on from what is there now.
  const [base, setBase] = useState(job);
  const [draft, setDraft] = useState(() => draftOf(job));
  const save = () => {
    const changes = changesOf(draftOf(base), draft);
    if (Object.keys(changes).length === 0) onClose();
    else update.mutate({ ...changes, expectedRevision: base.revision }, { onSuccess: onClose });
  };
  const goOn = (from: Draft) => {
    setBase(job);
    setDraft(from);
    update.reset();
  };
  const stale = isStale(update.error);
  return (
    <Dialog title="Edit the job" size="xl" onClose={onClose} unsaved={isChanged(draft, draftOf(base))}>
      <div key={stale ? "conflict" : "form"} ref={focusFirst}>
        {stale ? (
          <EditConflict
            base={draftOf(base)}
            mine={draft}
            theirs={draftOf(job)}
            onKeep={() => goOn(rebased(draft, draftOf(base), draftOf(job)))}
            onDiscard={() => goOn(draftOf(job))}
          />
        ) : (
          <JobForm
            draft={draft}
            onChange={setDraft}
            submitLabel="Save"
            pending={update.isPending}
            error={update.error}
            onSubmit={save}
            onCancel={onClose}
          />
        )}
      </div>
    </Dialog>
  );
}

/** What had the focus is gone with the other of the two. */
const focusFirst = (part: HTMLElement | null) => part?.querySelector<HTMLElement>("[data-autofocus]")?.focus();
