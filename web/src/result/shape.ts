import { type ExactNumber, isExactNumber, legibleJson } from "../api/json";

/** How a result is best read: decided by what it is, never by what it is called. */
export type Shape =
  | { kind: "text"; text: string }
  | { kind: "list"; items: Scalar[] }
  | { kind: "table"; columns: string[]; rows: Record<string, unknown>[] }
  | { kind: "record"; parts: { name: string; shape: Shape }[] }
  | { kind: "json"; value: unknown };

export type Scalar = string | number | ExactNumber | boolean | null;

const MOST_COLUMNS = 12;
const DEEPEST = 2;

export function isScalar(value: unknown): value is Scalar {
  return value === null || typeof value !== "object" || isExactNumber(value);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return !isScalar(value) && !Array.isArray(value);
}

export function shapeOf(value: unknown, depth = 0): Shape {
  if (isScalar(value)) return { kind: "text", text: scalarText(value) };
  if (Array.isArray(value)) return shapeOfList(value);
  const entries = Object.entries(value as Record<string, unknown>);
  if (entries.length === 0 || depth >= DEEPEST) return { kind: "json", value };
  return { kind: "record", parts: entries.map(([name, part]) => ({ name, shape: shapeOf(part, depth + 1) })) };
}

function shapeOfList(values: unknown[]): Shape {
  if (values.every(isScalar)) return { kind: "list", items: values };
  if (values.every(isRecord)) {
    const columns = [...new Set(values.flatMap((row) => Object.keys(row)))];
    // A table of only objects in cells would say less than the JSON itself.
    const legible = columns.some((column) => values.every((row) => isScalar(row[column] ?? null)));
    if (legible && columns.length <= MOST_COLUMNS) return { kind: "table", columns, rows: values };
  }
  return { kind: "json", value: values };
}

export function scalarText(value: Scalar): string {
  return value === null ? "–" : String(value);
}

/** Numbers stand right-aligned under each other. */
export function isNumeric(rows: Record<string, unknown>[], column: string): boolean {
  const values = rows.map((row) => row[column]).filter((value) => value !== undefined && value !== null);
  return values.length > 0 && values.every((value) => typeof value === "number" || isExactNumber(value));
}

/** What copying or saving gives: text as it is, everything else as JSON. */
export function asText(value: unknown): string {
  return typeof value === "string" ? value : legibleJson(value);
}
