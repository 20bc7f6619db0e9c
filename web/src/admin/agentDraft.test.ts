import { expect, test } from "vitest";
import { compactJson, readJson } from "../api/json";
import type { AgentPartsFragment } from "../gql/graphql";
import { agentDraftOf, changesOf, emptyAgentDraft, isSendable, newAgentOf, schemaProblem } from "./agentDraft";

test("a schema is looked at while it is typed", () => {
  expect(schemaProblem("")).toBeNull();
  expect(schemaProblem("true")).toBeNull();
  expect(schemaProblem('{"type": "object"}')).toBeNull();
  expect(schemaProblem("{")).toMatch(/^Not JSON yet/);
  expect(schemaProblem("[]")).toBe("A schema is an object, or true or false");
  expect(schemaProblem("1.0")).toBe("A schema is an object, or true or false");
  expect(schemaProblem('{"name": "Ana"}')).toMatch(/looks like data/);
});

test("what is not a schema is not sent", () => {
  const draft = emptyAgentDraft("http_json");
  expect(isSendable(draft)).toBe(true);
  expect(isSendable({ ...draft, outputSchema: "{" })).toBe(false);
  expect(isSendable({ ...draft, inputMapping: "nothing" })).toBe(false);
});

test("empty texts are no schemas, and an empty secret says nothing", () => {
  const sent = newAgentOf({ ...emptyAgentDraft("http_json"), outputSchema: "{}" });
  expect(sent).toMatchObject({
    executor: "http_json",
    inputSchema: null,
    outputSchema: {},
    validator: null,
    timeoutSeconds: 60,
  });
  expect(sent).not.toHaveProperty("secret");
  expect(changesOf("agt_1", { ...emptyAgentDraft("http_json"), secret: "new" })).toMatchObject({
    agentId: "agt_1",
    secret: "new",
  });
});

test("an agent that was opened and not changed keeps the numbers of its schemas", () => {
  const schema = '{"maximum":9007199254740993,"multipleOf":1.0}';
  const agent = { inputSchema: readJson(schema), outputSchema: null, inputMapping: null } as AgentPartsFragment;
  expect(compactJson(changesOf("agt_1", agentDraftOf(agent)).inputSchema)).toBe(schema);
});
