import { expect, test } from "vitest";
import { compactJson, readJson } from "../api/json";
import type { JobPartsFragment } from "../gql/graphql";
import { changesOf, draftOf, emptyDraft, fieldsOf, isSendable, jsonProblem, rebased } from "./draft";

const job = {
  title: "Contacts",
  description: "All of them",
  input: { thread: "…" },
  acceptanceCriteria: [
    { id: "c1", text: "Three numbers", required: true, expression: "size(answer.phones) == 3", jsonSchema: null },
    { id: "c2", text: "Four people", required: false, expression: null, jsonSchema: { minItems: 4 } },
    { id: "c3", text: "Friendly", required: true, expression: null, jsonSchema: null },
  ],
} as unknown as JobPartsFragment;

test("a job that was opened and not changed is sent as it was", () => {
  expect(fieldsOf(draftOf(job))).toEqual({
    title: "Contacts",
    description: "All of them",
    input: { thread: "…" },
    acceptanceCriteria: [
      { id: "c1", text: "Three numbers", required: true, check: { expression: "size(answer.phones) == 3" } },
      { id: "c2", text: "Four people", required: false, check: { jsonSchema: { minItems: 4 } } },
      { id: "c3", text: "Friendly", required: true, check: null },
    ],
  });
});

test("a new criterion has no id", () => {
  expect(fieldsOf(emptyDraft()).acceptanceCriteria).toEqual([{ text: "", required: true, check: null }]);
});

test("what is not JSON says so and is not sent", () => {
  expect(jsonProblem('{"a": 1}')).toBeNull();
  expect(jsonProblem(" ")).toBe("JSON is missing here");
  expect(jsonProblem('{"a": }')).toMatch(/^Not JSON yet: /);
  const draft = draftOf(job);
  expect(isSendable(draft)).toBe(true);
  expect(isSendable({ ...draft, input: "{" })).toBe(false);
  expect(
    isSendable({ ...draft, criteria: draft.criteria.map((each) => ({ ...each, check: "jsonSchema", rule: "{" })) }),
  ).toBe(false);
});

test("numbers are sent as they were written", () => {
  const input = '{"id":9007199254740993,"rate":1.0}';
  expect(compactJson(fieldsOf(draftOf({ ...job, input: readJson(input) })).input)).toBe(input);
});

test("of an edit only what it changes is sent", () => {
  const before = draftOf(job);
  expect(changesOf(before, draftOf(job))).toEqual({});
  expect(changesOf(before, { ...before, input: '{"thread":"…"}' })).toEqual({});
  expect(changesOf(before, { ...before, title: "Numbers" })).toEqual({ title: "Numbers" });
  const fewer = changesOf(before, { ...before, criteria: before.criteria.slice(2) });
  expect(fewer).toEqual({ acceptanceCriteria: [{ id: "c3", text: "Friendly", required: true, check: null }] });
});

test("one's own changes go on top of what somebody else saved", () => {
  const before = draftOf(job);
  const mine = { ...before, title: "Mine" };
  const theirs = { ...before, title: "Theirs", description: "Theirs", criteria: before.criteria.slice(1) };
  expect(rebased(mine, before, theirs)).toEqual({ ...theirs, title: "Mine" });
});

test("a criterion that somebody else removed is kept as a new one", () => {
  const before = draftOf(job);
  const mine = { ...before, criteria: before.criteria.map((each) => ({ ...each, required: true })) };
  const theirs = { ...before, criteria: before.criteria.slice(1) };
  expect(rebased(mine, before, theirs).criteria.map(({ id, required }) => [id, required])).toEqual([
    [null, true],
    ["c2", true],
    ["c3", true],
  ]);
});
