import { expect, test } from "vitest";
import { recordOf } from "./record";

type Jobs = Parameters<typeof recordOf>[1];

const job = (id: string, finishedAt: string | null, durationMs: number | null, agentId = "agt_1") =>
  ({
    id,
    title: id,
    latestExecution: {
      id: `exe_${id}`,
      number: 1,
      outcome: finishedAt && "ACCEPTED",
      agent: { id: agentId },
      finishedAt,
      logs: { nodes: durationMs === null ? [] : [{ durationMs, status: durationMs < 1_000 ? "OK" : "TIMEOUT" }] },
    },
  }) as unknown as Jobs[number];

test("outcomes stand in the order in which they came, with the median and the slowest answer", () => {
  const jobs = [job("c", "2026-03-03", 30), job("a", "2026-03-01", 10), job("b", "2026-03-02", 900)];
  const { outcomes, medianMs, slowestMs } = recordOf("agt_1", jobs);
  expect(outcomes.map(({ jobId }) => jobId)).toEqual(["a", "b", "c"]);
  expect([medianMs, slowestMs]).toEqual([30, 900]);
});

test("an answer that did not come took no time", () => {
  const { outcomes, medianMs } = recordOf("agt_1", [job("a", "2026-03-01", 5_000)]);
  expect(outcomes).toHaveLength(1);
  expect(medianMs).toBeNull();
});

test("what another agent did, and what is not finished, does not count", () => {
  const never = { id: "d", title: "d", latestExecution: null } as Jobs[number];
  const { outcomes, medianMs } = recordOf("agt_1", [job("a", "2026-03-01", 10, "agt_2"), job("b", null, null), never]);
  expect(outcomes).toEqual([]);
  expect(medianMs).toBeNull();
});
