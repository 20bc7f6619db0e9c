import { expect, test } from "vitest";
import { RefusedError } from "../api/ask";
import { refusalAt } from "./refusals";

const refusal = (message: string, path: string[] | null) =>
  ({ code: "INVALID_INPUT", message, path, retryAt: null }) as const;

test("a refusal stands at its field, however deep in it", () => {
  const error = new RefusedError([
    refusal("No.", null),
    refusal("Not CEL.", ["acceptanceCriteria", "1", "check", "expression"]),
  ]);
  expect(refusalAt(error, "acceptanceCriteria", "1")).toBe("Not CEL.");
  expect(refusalAt(error, "acceptanceCriteria", "0")).toBeUndefined();
  expect(refusalAt(error, "title")).toBeUndefined();
});

test("other errors are no field's", () => {
  expect(refusalAt(new Error("lost"), "title")).toBeUndefined();
  expect(refusalAt(null, "title")).toBeUndefined();
});
