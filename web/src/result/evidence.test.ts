import { expect, test } from "vitest";
import { readJson } from "../api/json";
import { highlight, printed } from "./evidence";

const shown = (text: string, quotes: string[]) =>
  highlight(text, quotes)
    .map(({ text: part, quote }) => (quote === null ? part : `[${quote}:${part}]`))
    .join("");

test("every place of a quote is marked with its number", () => {
  expect(shown("one two one", ["two", "one"])).toBe("[1:one] [0:two] [1:one]");
});

test("a quote of compact JSON is found in JSON laid out for people", () => {
  const answer = JSON.stringify({ name: "Mei Tanaka", age: 3 }, null, 2);
  expect(shown(answer, ['"name":"Mei Tanaka","age":3'])).toBe('{\n  [0:"name": "Mei Tanaka",\n  "age": 3]\n}');
});

test("a quote is found whether it has JSON's escapes or not", () => {
  const answer = printed({ text: 'He said "no"\nand left' });
  expect(shown(answer, ['said "no"\nand'])).toBe('{\n  "text": "He [0:said "no"\nand] left"\n}');
  expect(shown(answer, ['"text":"He said \\"no\\"\\nand'])).toBe('{\n  [0:"text": "He said "no"\nand] left"\n}');
});

test("a backslash that is meant stays", () => {
  expect(printed({ path: "C:\\new" })).toBe('{\n  "path": "C:\\new"\n}');
});

test("nothing is lost or marked where nothing is quoted", () => {
  expect(highlight("plain", ["absent", "", "  "])).toEqual([{ text: "plain", quote: null }]);
  expect(highlight("", ["a"])).toEqual([]);
});

test("a quoted number is found as it was written", () => {
  expect(shown(printed(readJson('{"a": 1, "rate": 1.0}')), ['"rate":1.0'])).toBe('{\n  "a": 1,\n  [0:"rate": 1.0]\n}');
});
