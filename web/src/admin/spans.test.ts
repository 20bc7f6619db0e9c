import { expect, test } from "vitest";
import { SPANS, spansUntil } from "./spans";

const now = new Date(2026, 10, 24, 15, 40).getTime();

test.each(["hours", "days", "weeks"] as const)("twelve %s follow each other without a gap, up to now", (unit) => {
  const spans = spansUntil(now, unit);
  expect(spans).toHaveLength(SPANS);
  expect(spans.slice(1).map(({ from }) => from)).toEqual(spans.slice(0, -1).map(({ to }) => to));
  const last = spans.at(-1);
  expect(last?.from.getTime()).toBeLessThanOrEqual(now);
  expect(last?.to.getTime()).toBeGreaterThan(now);
});

test("spans begin where people's clocks say so", () => {
  expect(spansUntil(now, "hours").at(-1)?.from).toEqual(new Date(2026, 10, 24, 15));
  expect(spansUntil(now, "days").at(-1)?.from).toEqual(new Date(2026, 10, 24));
  expect(spansUntil(now, "weeks").at(-1)?.to).toEqual(new Date(2026, 10, 25));
});
