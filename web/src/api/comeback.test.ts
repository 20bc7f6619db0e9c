import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { waitingFor } from "./comeback";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test("a service that was away is asked one question at a time until it answers, then told of once", async () => {
  let there = false;
  const isThere = vi.fn(async () => there);
  const back = vi.fn();
  const wait = waitingFor(isThere, back, 100);

  wait();
  wait();
  await vi.advanceTimersByTimeAsync(250);
  expect(isThere).toHaveBeenCalledTimes(2);
  expect(back).not.toHaveBeenCalled();
  there = true;
  await vi.advanceTimersByTimeAsync(1_000);
  expect(isThere).toHaveBeenCalledTimes(3);
  expect(back).toHaveBeenCalledTimes(1);

  // And again, when it goes away again.
  wait();
  await vi.advanceTimersByTimeAsync(100);
  expect(back).toHaveBeenCalledTimes(2);
});
