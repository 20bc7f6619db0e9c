import { type FocusEvent, type KeyboardEvent, useMemo, useState } from "react";
import { compactJson } from "../api/json";
import { isScalar, type Scalar } from "../result/shape";
import classes from "./JsonTree.module.css";

const LARGE = 20_000;

/** JSON to look through; a large one begins folded. */
export function JsonTree({ value, label }: { value: unknown; label: string }) {
  const text = useMemo(() => compactJson(value), [value]);
  if (isScalar(value)) return <code>{text}</code>;
  return (
    <ul className={classes.tree} aria-label={label} onFocus={leadTo} onKeyDown={walk}>
      <Part value={value} isLast level={0} folded={text.length > LARGE} />
    </ul>
  );
}

interface PartProps {
  /** Undefined: an item of a list. */
  name?: string | undefined;
  value: unknown;
  isLast: boolean;
  level: number;
  /** Whether everything below the first level begins folded. */
  folded: boolean;
}

function Part({ name, value, isLast, level, folded }: PartProps) {
  return (
    <li className={classes.part}>
      {isScalar(value) ? (
        <>
          <Name name={name} />
          <span className={classes[toneOf(value)]}>{compactJson(value)}</span>
        </>
      ) : (
        <Parts name={name} value={value as object} level={level} folded={folded} />
      )}
      {!isLast && <span className={classes.quiet}>,</span>}
    </li>
  );
}

function Parts({ name, value, level, folded }: Omit<PartProps, "isLast" | "value"> & { value: object }) {
  const [open, setOpen] = useState(level === 0 || !folded);
  const isList = Array.isArray(value);
  const parts = Object.entries(value);
  const [start, end] = isList ? "[]" : "{}";
  const byArrow = (event: KeyboardEvent) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.preventDefault();
    setOpen(event.key === "ArrowRight");
  };
  return (
    <>
      {parts.length > 0 && (
        <button
          type="button"
          className={classes.fold}
          aria-expanded={open}
          aria-label={name ?? (isList ? "List" : "Object")}
          tabIndex={level === 0 ? 0 : -1}
          onClick={() => setOpen(!open)}
          onKeyDown={byArrow}
        />
      )}
      <Name name={name} />
      <span className={classes.quiet}>{start}</span>
      {open && parts.length > 0 && (
        <ul className={classes.parts}>
          {parts.map(([key, part], index) => (
            <Part
              key={key}
              name={isList ? undefined : key}
              value={part}
              isLast={index === parts.length - 1}
              level={level + 1}
              folded={folded}
            />
          ))}
        </ul>
      )}
      <span className={classes.quiet}>{open ? end : `…${end}`}</span>
    </>
  );
}

function Name({ name }: { name: string | undefined }) {
  if (name === undefined) return null;
  return <span className={classes.name}>{name === "" ? '""' : name}:</span>;
}

function toneOf(value: Scalar): "quiet" | "text" | "number" {
  if (value === null) return "quiet";
  return typeof value === "string" ? "text" : "number";
}

/** One stop for the tab key, however much there is to unfold: arrows lead from one to the next. */
function walk(event: KeyboardEvent<HTMLElement>) {
  const step = event.key === "ArrowUp" ? -1 : event.key === "ArrowDown" ? 1 : 0;
  if (step === 0) return;
  event.preventDefault();
  const buttons = [...event.currentTarget.querySelectorAll("button")];
  const at = buttons.findIndex((button) => button.contains(event.target as Node));
  buttons.at((at + step) % buttons.length)?.focus();
}

function leadTo({ currentTarget, target }: FocusEvent<HTMLElement>) {
  for (const button of currentTarget.querySelectorAll("button")) button.tabIndex = button === target ? 0 : -1;
}
