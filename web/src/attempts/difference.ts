import { diffLines } from "diff";
import { printed } from "../result/evidence";

export type Line =
  | { kind: "same" | "added" | "removed"; text: string }
  /** Unchanged lines that are left out. */
  | { kind: "gap"; count: number };

const CONTEXT = 2;
// Beyond it, a browser would stand still for longer than anybody waits.
export const LONGEST_COMPARED = 200_000;

/** What changed from one answer to the next, line by line; null where they are too long to compare. */
export function difference(before: unknown, after: unknown): Line[] | null {
  const [old, young] = [printed(before), printed(after)];
  if (old.length + young.length > LONGEST_COMPARED) return null;
  const lines = diffLines(`${old}\n`, `${young}\n`).flatMap(({ value, added, removed }): Line[] => {
    const kind = added ? "added" : removed ? "removed" : "same";
    return value
      .replace(/\n$/, "")
      .split("\n")
      .map((text) => ({ kind, text }));
  });
  return withGaps(lines);
}

export function isUnchanged(lines: Line[]): boolean {
  return lines.every((line) => line.kind === "same" || line.kind === "gap");
}

function withGaps(lines: Line[]): Line[] {
  const near = lines.map((_, index) =>
    lines.slice(Math.max(0, index - CONTEXT), index + CONTEXT + 1).some((line) => line.kind !== "same"),
  );
  const kept: Line[] = [];
  lines.forEach((line, index) => {
    const last = kept.at(-1);
    if (near[index]) kept.push(line);
    else if (last?.kind === "gap") last.count += 1;
    else kept.push({ kind: "gap", count: 1 });
  });
  return kept;
}
