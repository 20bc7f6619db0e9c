import { Button, Textarea, TextInput } from "@mantine/core";
import { IconPlus } from "@tabler/icons-react";
import type { FormEvent, ReactNode } from "react";
import { DialogFoot } from "../ui/DialogFoot";
import { JsonInput } from "../ui/JsonInput";
import { focusOnRefused, refusalAt } from "../ui/refusals";
import { CriterionFields } from "./CriterionFields";
import { type CriterionDraft, type Draft, emptyCriterion, isSendable } from "./draft";
import classes from "./JobForm.module.css";

interface JobFormProps {
  draft: Draft;
  onChange: (draft: Draft) => void;
  submitLabel: string;
  pending: boolean;
  error: Error | null;
  /** Only of a draft that is sendable. */
  onSubmit: () => void;
  onCancel: () => void;
  /** What only one of the uses has. */
  children?: ReactNode;
}

/** What a job says: for a new one and for an edit. */
export function JobForm(props: JobFormProps) {
  const { draft, onChange, submitLabel, pending, error, onSubmit, onCancel, children } = props;
  const change = (part: Partial<Draft>) => onChange({ ...draft, ...part });
  const setCriteria = (criteria: CriterionDraft[]) => change({ criteria });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (isSendable(draft)) onSubmit();
    else focusOnRefused(event.currentTarget);
  };
  return (
    <form onSubmit={submit} className={classes.form}>
      <TextInput
        label="Title"
        required
        withAsterisk={false}
        data-autofocus
        error={refusalAt(error, "title")}
        value={draft.title}
        onChange={(event) => change({ title: event.currentTarget.value })}
      />
      <Textarea
        label="Description"
        description="What is to be done, in words"
        autosize={false}
        rows={3}
        error={refusalAt(error, "description")}
        value={draft.description}
        onChange={(event) => change({ description: event.currentTarget.value })}
      />
      {children}
      <JsonInput
        label="Input"
        description="The data to do it with, as JSON"
        value={draft.input}
        onChange={(input) => change({ input })}
        error={refusalAt(error, "input")}
      />
      <fieldset className={classes.criteria}>
        <legend>Acceptance criteria</legend>
        {draft.criteria.map((criterion, index) => (
          <CriterionFields
            key={criterion.key}
            number={index + 1}
            criterion={criterion}
            error={refusalAt(error, "acceptanceCriteria", String(index))}
            onChange={(changed) => setCriteria(draft.criteria.with(index, changed))}
            onRemove={draft.criteria.length > 1 ? () => setCriteria(draft.criteria.toSpliced(index, 1)) : null}
          />
        ))}
        <Button
          variant="default"
          leftSection={<IconPlus size={16} aria-hidden />}
          onClick={() => setCriteria([...draft.criteria, emptyCriterion()])}
        >
          Add a criterion
        </Button>
      </fieldset>
      <DialogFoot error={error}>
        <Button type="submit" loading={pending}>
          {submitLabel}
        </Button>
        <Button variant="default" onClick={onCancel}>
          Cancel
        </Button>
      </DialogFoot>
    </form>
  );
}
