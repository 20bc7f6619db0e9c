import { expect, test } from "vitest";
import { stuckMilliseconds } from "./queries";

test("what is stuck is looked for as often as its time asks for", () => {
  expect([10, 60, 300, 7_200].map(stuckMilliseconds)).toEqual([2_500, 15_000, 30_000, 30_000]);
});
