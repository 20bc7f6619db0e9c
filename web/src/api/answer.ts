import { isExactNumber, readJson } from "./json";

/** The fields of the scalar JSON: they hold what people and agents wrote. */
export const JSON_FIELDS: ReadonlySet<string> = new Set([
  "answer",
  "input",
  "inputMapping",
  "inputSchema",
  "jsonSchema",
  "outputSchema",
  "payload",
  "request",
  "result",
]);

/** Read an answer to an operation. JSON in it stays as it was written; what the schema calls a number is one. */
export const readAnswer = (text: string): unknown => withNumbers(readJson(text));

function withNumbers(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (isExactNumber(value)) return Number(value.value);
  if (Array.isArray(value)) return value.map(withNumbers);
  const parts = Object.entries(value);
  return Object.fromEntries(parts.map(([name, part]) => [name, JSON_FIELDS.has(name) ? part : withNumbers(part)]));
}
