import type { AgentRecordQuery, ExecutionOutcome } from "../gql/graphql";

export interface Outcome {
  executionId: string;
  jobId: string;
  jobTitle: string;
  number: number;
  outcome: ExecutionOutcome;
  finishedAt: string;
}

export interface AgentRecord {
  /** The newest last. */
  outcomes: Outcome[];
  /** Of those that answered; null: none did. */
  medianMs: number | null;
  slowestMs: number | null;
}

type Jobs = AgentRecordQuery["jobs"]["nodes"];

/** How an agent has done lately, from the latest attempt of each of its jobs. */
export function recordOf(agentId: string, jobs: Jobs): AgentRecord {
  const outcomes: Outcome[] = [];
  const times: number[] = [];
  for (const { id: jobId, title: jobTitle, latestExecution } of jobs) {
    // A job may have changed its agent since.
    if (!latestExecution || latestExecution.agent.id !== agentId) continue;
    const { id: executionId, number, outcome, finishedAt, logs } = latestExecution;
    if (outcome && finishedAt) outcomes.push({ executionId, jobId, jobTitle, number, outcome, finishedAt });
    const answer = logs.nodes[0];
    if (answer?.status === "OK" && answer.durationMs !== null) times.push(answer.durationMs);
  }
  outcomes.sort((one, other) => one.finishedAt.localeCompare(other.finishedAt));
  times.sort((one, other) => one - other);
  return {
    outcomes,
    medianMs: times[Math.floor((times.length - 1) / 2)] ?? null,
    slowestMs: times.at(-1) ?? null,
  };
}
