import { Button } from "@mantine/core";
import { DialogFoot } from "../ui/DialogFoot";
import { changesOf, type Draft, type JobFields } from "./draft";
import classes from "./EditConflict.module.css";

interface EditConflictProps {
  /** What the edit began with. */
  base: Draft;
  mine: Draft;
  /** What is saved now. */
  theirs: Draft;
  onKeep: () => void;
  onDiscard: () => void;
}

/** The job was saved by somebody else first: what both changed, and two ways on. */
export function EditConflict({ base, mine, theirs, onKeep, onDiscard }: EditConflictProps) {
  const [changed, saved] = [namesOf(changesOf(base, mine)), namesOf(changesOf(base, theirs))];
  const both = changed.filter((name) => saved.includes(name));
  return (
    <div className={classes.conflict}>
      <div role="alert">
        <p>The job was changed while you were editing it. Your changes are kept here, and not saved yet.</p>
      </div>
      <dl className={classes.facts}>
        <dt>Saved meanwhile</dt>
        <dd>{saved.join(", ") || "Nothing that you can edit here"}</dd>
        <dt>Changed by you</dt>
        <dd>{changed.join(", ")}</dd>
      </dl>
      <p>
        {both.length > 0
          ? `You both changed ${both.join(" and ")}. If you keep your changes, they replace what was saved there.`
          : "If you keep your changes, they come on top of what was saved."}{" "}
        You can look at it all before you save.
      </p>
      <DialogFoot error={null}>
        <Button data-autofocus onClick={onKeep}>
          Keep my changes
        </Button>
        <Button variant="default" onClick={onDiscard}>
          Discard mine, load what was saved
        </Button>
      </DialogFoot>
    </div>
  );
}

const NAMES: Record<keyof JobFields, string> = {
  title: "Title",
  description: "Description",
  input: "Input",
  acceptanceCriteria: "Acceptance criteria",
};

const namesOf = (changes: Partial<JobFields>) => Object.keys(changes).map((name) => NAMES[name as keyof JobFields]);
