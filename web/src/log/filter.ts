import type { EntryFragment, JobLogFilter, JobLogStatus, JobLogType } from "../gql/graphql";

export const KINDS = {
  agent: { name: "Agent", types: ["AGENT_REQUEST", "AGENT_RESPONSE"] },
  validator: { name: "Validator", types: ["VALIDATOR_REQUEST", "VALIDATOR_RESPONSE"] },
  status: { name: "Status", types: ["STATUS_CHANGE"] },
  people: { name: "Edits and overrides", types: ["JOB_EDIT", "ADMIN_ACTION"] },
} as const satisfies Record<string, { name: string; types: readonly JobLogType[] }>;

export type Kind = keyof typeof KINDS;
export const KIND_NAMES = Object.keys(KINDS) as Kind[];

const PROBLEMS: readonly JobLogStatus[] = ["ERROR", "TIMEOUT", "UNKNOWN"];

export interface LogFilter {
  /** None: all. */
  kinds: Kind[];
  problemsOnly: boolean;
  executionId: string | null;
}

/** Filters live in the address, so that a link shows what its sender saw. */
export function filterOf(search: URLSearchParams): LogFilter {
  const asked = new Set(search.get("log")?.split(",") ?? []);
  return {
    kinds: KIND_NAMES.filter((kind) => asked.has(kind)),
    problemsOnly: search.has("problems"),
    executionId: search.get("attempt"),
  };
}

function typesOf({ kinds }: LogFilter): JobLogType[] {
  return kinds.flatMap((kind) => [...KINDS[kind].types]);
}

/** The filter as the service takes it. */
export function asked(filter: LogFilter): JobLogFilter {
  const types = typesOf(filter);
  return {
    types: types.length > 0 ? types : null,
    statuses: filter.problemsOnly ? [...PROBLEMS] : null,
    executionId: filter.executionId,
  };
}

/** The filter as it is applied to what comes live. */
export function admits(filter: LogFilter, entry: EntryFragment): boolean {
  const types = typesOf(filter);
  return (
    (types.length === 0 || types.includes(entry.type)) &&
    (!filter.problemsOnly || PROBLEMS.includes(entry.status)) &&
    (filter.executionId === null || entry.execution?.id === filter.executionId)
  );
}
