import type { EntryFragment, ExecutionOutcome, JobLogType } from "../gql/graphql";
import type { LogFilter } from "./filter";
import { admits } from "./filter";

export interface Placed {
  cursor: string;
  entry: EntryFragment;
}

export type Order = "newest" | "oldest";

/**
 * The entries to show: the pages that were read, and what came live since.
 *
 * Pages run from the end that is shown first. Live entries belong to the newest end, so in the other order they wait
 * until the pages have got there: shown earlier, they would hide the gap between.
 */
export function merged(
  pages: readonly (readonly Placed[])[],
  live: readonly Placed[],
  { filter, order, complete }: { filter: LogFilter; order: Order; complete: boolean },
): EntryFragment[] {
  const read = pages.flat().map(({ entry }) => entry);
  const known = new Set(read.map(({ id }) => id));
  const fresh: EntryFragment[] = [];
  for (const { entry } of live) {
    if (known.has(entry.id) || !admits(filter, entry)) continue;
    known.add(entry.id);
    fresh.push(entry);
  }
  if (order === "newest") return [...fresh.reverse(), ...read];
  return complete ? [...read, ...fresh] : read;
}

export type Row =
  | {
      kind: "attempt";
      key: string;
      number: number | null;
      outcome: ExecutionOutcome | null;
      executionId: string | null;
    }
  | { kind: "entry"; key: string; entry: EntryFragment };

/** Entries under a heading for each attempt; what belongs to none stands under the job's own. */
export function grouped(entries: readonly EntryFragment[]): Row[] {
  const rows: Row[] = [];
  let group: string | null | undefined;
  for (const entry of entries) {
    const execution = entry.execution?.id ?? null;
    if (execution !== group) {
      group = execution;
      rows.push({
        kind: "attempt",
        key: `${execution}:${entry.id}`,
        number: entry.execution?.number ?? null,
        outcome: entry.execution?.outcome ?? null,
        executionId: execution,
      });
    }
    rows.push({ kind: "entry", key: entry.id, entry });
  }
  return rows;
}

export const TYPE_NAMES: Record<JobLogType, string> = {
  AGENT_REQUEST: "Sent to agent",
  AGENT_RESPONSE: "Agent answered",
  VALIDATOR_REQUEST: "Validator asked",
  VALIDATOR_RESPONSE: "Validator answered",
  STATUS_CHANGE: "Status",
  JOB_EDIT: "Edit",
  ADMIN_ACTION: "Override",
};
