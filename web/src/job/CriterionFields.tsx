import { ActionIcon, Checkbox, NativeSelect, Textarea, TextInput } from "@mantine/core";
import { IconTrash } from "@tabler/icons-react";
import { JsonInput } from "../ui/JsonInput";
import classes from "./CriterionFields.module.css";
import type { Check, CriterionDraft } from "./draft";

interface CriterionFieldsProps {
  number: number;
  criterion: CriterionDraft;
  /** What was refused about it. */
  error: string | undefined;
  onChange: (criterion: CriterionDraft) => void;
  /** Null: the last one stays. */
  onRemove: (() => void) | null;
}

const CHECKS: { value: Check; label: string }[] = [
  { value: "judged", label: "Judged by the validator" },
  { value: "expression", label: "Checked by an expression" },
  { value: "jsonSchema", label: "Checked by a JSON schema" },
];

export function CriterionFields({ number, criterion, error, onChange, onRemove }: CriterionFieldsProps) {
  const change = (part: Partial<CriterionDraft>) => onChange({ ...criterion, ...part });
  return (
    <div className={classes.criterion} role="group" aria-label={`Criterion ${number}`}>
      <div className={classes.first}>
        <TextInput
          className={classes.text ?? ""}
          aria-label={`Criterion ${number}`}
          placeholder="What the answer must meet, in one sentence"
          required
          error={criterion.check === "judged" && error}
          value={criterion.text}
          onChange={(event) => change({ text: event.currentTarget.value })}
        />
        {onRemove && (
          <ActionIcon
            size="lg"
            variant="subtle"
            color="gray"
            aria-label={`Remove criterion ${number}`}
            onClick={onRemove}
          >
            <IconTrash size={18} aria-hidden />
          </ActionIcon>
        )}
      </div>
      <div className={classes.how}>
        <NativeSelect
          aria-label={`How criterion ${number} is checked`}
          value={criterion.check}
          data={CHECKS}
          onChange={(event) => change({ check: event.currentTarget.value as Check })}
        />
        <Checkbox
          label="Required"
          checked={criterion.required}
          onChange={(event) => change({ required: event.currentTarget.checked })}
        />
      </div>
      {criterion.check === "expression" && (
        <Textarea
          label="CEL expression over answer and job"
          rows={2}
          spellCheck={false}
          required
          withAsterisk={false}
          placeholder="size(answer.phones) == 3"
          value={criterion.rule}
          error={error}
          onChange={(event) => change({ rule: event.currentTarget.value })}
        />
      )}
      {criterion.check === "jsonSchema" && (
        <JsonInput
          label="JSON schema that the answer must meet"
          value={criterion.rule}
          onChange={(rule) => change({ rule })}
          error={error}
        />
      )}
    </div>
  );
}
