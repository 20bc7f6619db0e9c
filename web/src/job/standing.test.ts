import { expect, test } from "vitest";
import { standingOf, stepOf } from "./standing";

type Job = Parameters<typeof standingOf>[0];

const job = (rest: Partial<Job>): Job => ({
  status: "ASSIGNED",
  notice: null,
  agent: { id: "agt_1", name: "Table reader", enabled: true },
  latestExecution: null,
  acceptanceCriteria: [{}, {}] as Job["acceptanceCriteria"],
  ...rest,
});
const running = (state: string) =>
  job({ status: "IN_EXECUTION", latestExecution: { state } as NonNullable<Job["latestExecution"]> });

test("a job says what is missing, or what Execute does", () => {
  expect(standingOf(job({ status: "PENDING", agent: null })).headline).toBe("No agent yet");
  expect(standingOf(job({})).detail).toContain("Table reader and checks its answer against 2 criteria");
  expect(standingOf(job({ agent: { id: "agt_1", name: "Old one", enabled: false } })).detail).toContain("Old one");
});

test("a rejected job counts what failed and keeps the service's words", () => {
  const notice = {
    code: "REJECTED",
    message: "Said by the service.",
    retryable: true,
    failedCriteria: [{}],
  } as Job["notice"];
  expect(standingOf(job({ status: "RESUBMISSION_REQUIRED", notice }))).toEqual({
    tone: "attention",
    headline: "Not signed off: 1 of 2 criteria failed",
    detail: "Said by the service.",
  });
});

test("an agent's failure asks for attention although the status is as before", () => {
  const notice = { code: "AGENT_FAILED", message: "Refused.", retryable: true, failedCriteria: [] } as Job["notice"];
  expect(standingOf(job({ notice }))).toMatchObject({ tone: "attention", headline: "The agent failed" });
});

test("progress follows the execution's state", () => {
  const states = ["QUEUED", "CALLING_AGENT", "VALIDATING", "WAITING_RETRY", "FINISHED"];
  expect(states.map((state) => stepOf(running(state)))).toEqual([0, 1, 2, 2, 3]);
  expect(states.slice(0, 4).map((state) => standingOf(running(state)).headline)).toEqual([
    "Queued",
    "Calling the agent",
    "Validating",
    "Waiting for the validator",
  ]);
});
