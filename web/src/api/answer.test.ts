import { readFileSync } from "node:fs";
import { buildSchema, getNamedType, parse, TypeInfo, visit, visitWithTypeInfo } from "graphql";
import { expect, test } from "vitest";
import * as operations from "../gql/graphql";
import { JSON_FIELDS, readAnswer } from "./answer";
import { compactJson } from "./json";

const schema = buildSchema(readFileSync("../schema/schema.graphql", "utf8"));
const documents = Object.values(operations).filter((each) => each instanceof operations.TypedDocumentString);

/** The fields that an operation asks for, by the names that they have in its answer. */
function fieldsOf(document: (typeof documents)[number]): { name: string; isJson: boolean }[] {
  const found: { name: string; isJson: boolean }[] = [];
  const types = new TypeInfo(schema);
  const note = (node: { alias?: { value: string } | undefined; name: { value: string } }) => {
    const type = getNamedType(types.getType());
    found.push({ name: (node.alias ?? node.name).value, isJson: type?.name === "JSON" });
  };
  visit(parse(String(document)), visitWithTypeInfo(types, { Field: note }));
  return found;
}

test("of what is asked for, the fields of the scalar JSON are known, and no other has their names", () => {
  const fields = documents.flatMap(fieldsOf);
  expect(new Set(fields.filter(({ isJson }) => isJson).map(({ name }) => name))).toEqual(JSON_FIELDS);
  expect(fields.filter(({ name, isJson }) => JSON_FIELDS.has(name) && !isJson)).toEqual([]);
});

test("no JSON comes by the socket, whose client reads numbers as JavaScript does", () => {
  const subscriptions = documents.filter((document) => String(document).includes("subscription "));
  expect(subscriptions.length).toBeGreaterThan(1);
  expect(subscriptions.flatMap(fieldsOf).filter(({ isJson }) => isJson)).toEqual([]);
});

test("an answer keeps the numbers of JSON, and has numbers elsewhere", () => {
  const answer = readAnswer('{"data":{"job":{"input":[{"n":1.0}],"executions":[{"answer":1.0,"costUsd":1e-05}]}}}');
  expect(compactJson(answer)).toBe(
    '{"data":{"job":{"input":[{"n":1.0}],"executions":[{"answer":1.0,"costUsd":0.00001}]}}}',
  );
  expect(answer).toMatchObject({ data: { job: { executions: [{ costUsd: 0.00001 }] } } });
});
