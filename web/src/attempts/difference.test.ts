import { expect, test } from "vitest";
import { readJson } from "../api/json";
import { difference, isUnchanged, LONGEST_COMPARED } from "./difference";

const shown = (before: unknown, after: unknown) =>
  difference(before, after)?.map((line) =>
    line.kind === "gap" ? `… ${line.count}` : `${{ same: " ", added: "+", removed: "-" }[line.kind]}${line.text}`,
  );

test("changed lines stand with two of their neighbours, the rest is a gap", () => {
  const before = ["a", "b", "c", "d", "e", "f", "g"];
  const after = ["a", "b", "c", "d", "e", "F", "g"];
  expect(shown(before, after)).toEqual(["… 4", '   "d",', '   "e",', '-  "f",', '+  "F",', '   "g"', " ]"]);
});

test("texts are compared as texts", () => {
  expect(shown("Dear Ana,\nyes", "Dear Ana,\nno")).toEqual([" Dear Ana,", "-yes", "+no"]);
});

test("equal answers are unchanged", () => {
  expect(isUnchanged(difference({ a: 1 }, { a: 1 }) ?? [])).toBe(true);
  expect(isUnchanged(difference({ a: 1 }, { a: 2 }) ?? [])).toBe(false);
});

test("answers that are too long are not compared", () => {
  expect(difference("x".repeat(LONGEST_COMPARED), "y")).toBeNull();
});

test("numbers that are different JSON are different", () => {
  expect(shown(readJson("1.0"), readJson("1"))).toEqual(["-1.0", "+1"]);
  expect(shown(readJson("9007199254740993"), readJson("9007199254740992"))).toEqual([
    "-9007199254740993",
    "+9007199254740992",
  ]);
  expect(isUnchanged(difference(readJson("[1.0]"), readJson("[1.0]")) ?? [])).toBe(true);
});
