import { compactJson, legibleJson, readJson } from "../api/json";
import type { CriterionInput, JobPartsFragment } from "../gql/graphql";
import { newKey } from "../ui/newKey";

/** A job as it stands in the form: what people type, not yet what is sent. */
export interface Draft {
  title: string;
  description: string;
  input: string;
  criteria: CriterionDraft[];
}

export type Check = "judged" | "expression" | "jsonSchema";

export interface CriterionDraft {
  key: string;
  /** Of a criterion that exists already. */
  id: string | null;
  text: string;
  required: boolean;
  check: Check;
  /** The expression or the schema. */
  rule: string;
}

export const emptyCriterion = (): CriterionDraft => ({
  key: newKey(),
  id: null,
  text: "",
  required: true,
  check: "judged",
  rule: "",
});

export const emptyDraft = (): Draft => ({ title: "", description: "", input: "{}", criteria: [emptyCriterion()] });

export const draftOf = (job: JobPartsFragment): Draft => ({
  title: job.title,
  description: job.description,
  input: legibleJson(job.input),
  criteria: job.acceptanceCriteria.map(({ id, text, required, expression, jsonSchema }) => ({
    key: id,
    id,
    text,
    required,
    check: expression ? "expression" : jsonSchema !== null ? "jsonSchema" : "judged",
    rule: expression ?? (jsonSchema !== null ? legibleJson(jsonSchema) : ""),
  })),
});

/** Why a text is not JSON, said for whoever typed it; null where it is. */
export function jsonProblem(text: string): string | null {
  try {
    JSON.parse(text);
    return null;
  } catch (error) {
    const reason =
      error instanceof Error ? error.message.replace(/ in JSON at .*| \(line.*| is not valid JSON$/s, "") : "";
    return text.trim() === "" ? "JSON is missing here" : `Not JSON yet: ${reason}`;
  }
}

/** Whether everything that has to be JSON is: the service says the rest. */
export function isSendable({ input, criteria }: Draft): boolean {
  return (
    jsonProblem(input) === null &&
    criteria.every(({ check, rule }) => check !== "jsonSchema" || jsonProblem(rule) === null)
  );
}

export interface JobFields {
  title: string;
  description: string;
  input: unknown;
  acceptanceCriteria: CriterionInput[];
}

export const fieldsOf = ({ title, description, input, criteria }: Draft): JobFields => ({
  title,
  description,
  input: readJson(input),
  acceptanceCriteria: criteria.map(({ id, text, required, check, rule }) => ({
    ...(id === null ? {} : { id }),
    text,
    required,
    check: check === "judged" ? null : check === "expression" ? { expression: rule } : { jsonSchema: readJson(rule) },
  })),
});

/** What is sent of an edit: the fields that say something else than before. Both drafts have to be sendable. */
export function changesOf(before: Draft, after: Draft): Partial<JobFields> {
  const old = fieldsOf(before);
  const isChanged = ([name, value]: [string, unknown]) =>
    compactJson(value) !== compactJson(old[name as keyof JobFields]);
  return Object.fromEntries(Object.entries(fieldsOf(after)).filter(isChanged));
}

/** My changes since `base` on top of theirs: of a field that both changed, mine. */
export function rebased(mine: Draft, base: Draft, theirs: Draft): Draft {
  const changes = changesOf(base, mine);
  const has = (id: string | null) => theirs.criteria.some((criterion) => criterion.id === id);
  return {
    title: "title" in changes ? mine.title : theirs.title,
    description: "description" in changes ? mine.description : theirs.description,
    input: "input" in changes ? mine.input : theirs.input,
    // The service knows no criterion that they removed: mine is a new one.
    criteria:
      "acceptanceCriteria" in changes
        ? mine.criteria.map((criterion) => (has(criterion.id) ? criterion : { ...criterion, id: null }))
        : theirs.criteria,
  };
}
