import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { eachSecond } from "./eachSecond";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test("all who listen are called each second by one timer, which goes with the last of them", () => {
  const first = vi.fn();
  const second = vi.fn();
  const stopFirst = eachSecond(first);
  vi.advanceTimersByTime(500);
  const stopSecond = eachSecond(second);

  expect(vi.getTimerCount()).toBe(1);
  vi.advanceTimersByTime(500);
  expect([first, second].map((each) => each.mock.calls.length)).toEqual([1, 1]);
  stopFirst();
  vi.advanceTimersByTime(1_000);
  expect([first, second].map((each) => each.mock.calls.length)).toEqual([1, 2]);
  stopSecond();
  expect(vi.getTimerCount()).toBe(0);
});
