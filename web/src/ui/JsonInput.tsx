import { Textarea } from "@mantine/core";
import { jsonProblem } from "../job/draft";
import classes from "./JsonInput.module.css";

interface JsonInputProps {
  label: string;
  description?: string;
  value: string;
  onChange: (value: string) => void;
  rows?: number;
  /** Whether nothing at all is fine as well. */
  optional?: boolean;
  error?: string | null | undefined;
}

/** A text that has to be JSON, and says while one types where it is not. */
export function JsonInput({
  label,
  description,
  value,
  onChange,
  rows = 6,
  optional = false,
  error = null,
}: JsonInputProps) {
  const problem = optional && value.trim() === "" ? null : jsonProblem(value);
  return (
    <Textarea
      label={label}
      description={description}
      rows={rows}
      spellCheck={false}
      classNames={{ input: classes.input ?? "" }}
      value={value}
      onChange={(event) => onChange(event.currentTarget.value)}
      error={problem ?? error}
    />
  );
}
