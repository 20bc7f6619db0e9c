import { replaceEqualDeep } from "@tanstack/react-query";
import { expect, test } from "vitest";
import { compactJson, isExactNumber, legibleJson, readJson } from "./json";

test.each([
  "9007199254740993",
  "-9223372036854775808",
  "1.0",
  "-0",
  "1E5",
  "0.10",
  "1e400",
  '{"id":9007199254740993,"rates":[1.0,2.50,-0.0],"plain":[1,-2.5,true,null]}',
  '{"text":"9007199254740993, 1.0","__proto__":{"n":1.0}}',
])("%s is written as it was read", (text) => {
  expect(compactJson(readJson(text))).toBe(text);
});

test("what a number holds exactly is one", () => {
  expect(readJson('{"a": [1, -2.5, 9007199254740991, 1e-7], "b": "1.0"}')).toEqual({
    a: [1, -2.5, 9007199254740991, 1e-7],
    b: "1.0",
  });
});

test("what looks like an exact number is no such thing", () => {
  const text = '{"isLosslessNumber":true,"value":"1.0","n":1.0}';
  const value = readJson(text);
  expect(isExactNumber(value)).toBe(false);
  expect(compactJson(value)).toBe(text);
});

test("of equal keys the last one counts, as with the browser's own parser", () => {
  expect(compactJson(readJson('{"a": 1.0, "a": 2}'))).toBe('{"a":2}');
});

test("what is not JSON is refused, with exact numbers in it or without", () => {
  for (const text of ["", "{", "[1.0", "01", "1.", '{1.0: "a"}', "[1.0,]"]) {
    expect(() => readJson(text)).toThrow(SyntaxError);
  }
});

test("what is read again and has not changed is the same", () => {
  const before = readJson('{"job": {"input": {"n": 1.0}, "title": "a"}}') as { job: { input: unknown } };
  const after = readJson('{"job": {"input": {"n": 1.0}, "title": "b"}}');
  expect((replaceEqualDeep(before, after) as typeof before).job.input).toBe(before.job.input);
  const changed = readJson('{"job": {"input": {"n": 1.00}, "title": "a"}}');
  expect(compactJson(replaceEqualDeep(before, changed))).toBe('{"job":{"input":{"n":1.00},"title":"a"}}');
});

test("JSON for people keeps numbers too", () => {
  expect(legibleJson(readJson('{"a":[1.0]}'))).toBe('{\n  "a": [\n    1.0\n  ]\n}');
});
