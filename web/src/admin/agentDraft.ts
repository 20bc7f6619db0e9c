import { legibleJson, readJson } from "../api/json";
import type { AgentPartsFragment, CreateAgentInput, UpdateAgentInput } from "../gql/graphql";
import { jsonProblem } from "../job/draft";
import { isScalar } from "../result/shape";

/** An agent as it stands in the form: what people type, not yet what is sent. */
export interface AgentDraft {
  name: string;
  executor: string;
  validator: string;
  endpointUrl: string;
  inputSchema: string;
  outputSchema: string;
  inputMapping: string;
  timeoutSeconds: string;
  maxConcurrentExecutions: string;
  idempotent: boolean;
  secret: string;
}

const written = (value: unknown) => (value === null ? "" : legibleJson(value));
const read = (text: string): unknown => (text.trim() === "" ? null : readJson(text));

export const emptyAgentDraft = (executor: string): AgentDraft => ({
  name: "",
  executor,
  validator: "",
  endpointUrl: "",
  inputSchema: "",
  outputSchema: "",
  inputMapping: "",
  timeoutSeconds: "60",
  maxConcurrentExecutions: "16",
  idempotent: false,
  secret: "",
});

export const agentDraftOf = (agent: AgentPartsFragment): AgentDraft => ({
  name: agent.name,
  executor: agent.executor,
  validator: agent.validator ?? "",
  endpointUrl: agent.endpointUrl ?? "",
  inputSchema: written(agent.inputSchema),
  outputSchema: written(agent.outputSchema),
  inputMapping: written(agent.inputMapping),
  timeoutSeconds: String(agent.timeoutSeconds),
  maxConcurrentExecutions: String(agent.maxConcurrentExecutions),
  idempotent: agent.idempotent,
  secret: "",
});

const KEYWORDS = [
  "type",
  "properties",
  "required",
  "items",
  "enum",
  "const",
  "anyOf",
  "oneOf",
  "allOf",
  "$ref",
  "$defs",
  "not",
  "if",
];

/** What is wrong with a schema as far as one can tell while it is typed; the service checks the rest. */
export function schemaProblem(text: string): string | null {
  if (text.trim() === "") return null;
  const problem = jsonProblem(text);
  if (problem) return problem;
  const schema = readJson(text);
  if (typeof schema === "boolean") return null;
  if (isScalar(schema) || Array.isArray(schema)) return "A schema is an object, or true or false";
  const names = Object.keys(schema as object);
  if (names.length > 0 && !names.some((name) => KEYWORDS.includes(name))) {
    return "This looks like data, not like a schema: no keyword such as “type” or “properties”";
  }
  return null;
}

export const isSendable = ({ inputSchema, outputSchema, inputMapping }: AgentDraft): boolean =>
  schemaProblem(inputSchema) === null &&
  schemaProblem(outputSchema) === null &&
  (inputMapping.trim() === "" || jsonProblem(inputMapping) === null);

function common(draft: AgentDraft) {
  return {
    name: draft.name,
    endpointUrl: draft.endpointUrl,
    validator: draft.validator || null,
    inputSchema: read(draft.inputSchema),
    outputSchema: read(draft.outputSchema),
    inputMapping: read(draft.inputMapping),
    timeoutSeconds: Number(draft.timeoutSeconds),
    maxConcurrentExecutions: Number(draft.maxConcurrentExecutions),
    idempotent: draft.idempotent,
    // A secret is never shown, so an empty field leaves it as it is.
    ...(draft.secret ? { secret: draft.secret } : {}),
  };
}

export const newAgentOf = (draft: AgentDraft): CreateAgentInput => ({ executor: draft.executor, ...common(draft) });

export const changesOf = (agentId: string, draft: AgentDraft): UpdateAgentInput => ({ agentId, ...common(draft) });
