import type { ExecutionOutcome, ExecutionState, JobPartsFragment } from "../gql/graphql";
import { STATUSES, type Tone } from "../ui/words";

/** Where a job stands, in a headline and a sentence: what its page says first. */
export interface Standing {
  tone: Tone;
  headline: string;
  detail: string;
}

type Job = Pick<JobPartsFragment, "status" | "notice" | "agent" | "latestExecution" | "acceptanceCriteria">;

/** What an action meets: the status, and which execution is the latest. */
export const stateOf = (job: { status: string; latestExecution: { number: number } | null }): string =>
  `${job.status} ${job.latestExecution?.number}`;

const AFTER: Partial<Record<ExecutionOutcome, string>> = {
  UNDECIDED: "Not signed off: somebody has to decide",
  OUTPUT_INVALID: "Not signed off: the answer has the wrong form",
  VALIDATOR_UNAVAILABLE: "Not validated yet: the validator was not available",
  INPUT_INVALID: "The job’s data does not fit the agent",
  AGENT_FAILED: "The agent failed",
  AGENT_OUTCOME_UNKNOWN: "The agent’s answer was lost",
  CANCELLED: "The last execution was cancelled",
  SUPERSEDED: "The last execution was ended by an admin",
};

export function standingOf(job: Job): Standing {
  const { tone } = STATUSES[job.status];
  const { notice, agent, latestExecution } = job;
  if (job.status === "IN_EXECUTION") return { tone, ...progress(job) };
  if (job.status === "COMPLETED") {
    return {
      tone,
      headline: "Signed off",
      detail:
        latestExecution?.outcome === "ACCEPTED"
          ? `The answer of attempt ${latestExecution.number} met every required criterion.`
          : "An admin completed the job.",
    };
  }
  if (agent && !agent.enabled) {
    return { tone: "attention", headline: "The agent is disabled", detail: `Assign another one than ${agent.name}.` };
  }
  if (notice) return { tone: tone === "ready" ? "attention" : tone, headline: afterwards(job), detail: notice.message };
  if (job.status === "RESUBMISSION_REQUIRED") {
    return { tone, headline: "To be done again", detail: "Execute again, or edit the job first." };
  }
  if (!agent) return { tone, headline: "No agent yet", detail: "Assign one, then execute the job." };
  const count = job.acceptanceCriteria.length;
  return {
    tone,
    headline: "Ready",
    detail: `Execute sends the job to ${agent.name} and checks its answer against ${count === 1 ? "one criterion" : `${count} criteria`}.`,
  };
}

function afterwards({ notice, acceptanceCriteria }: Job): string {
  const code = notice?.code ?? null;
  if (code === "REJECTED") {
    const [failed, all] = [notice?.failedCriteria.length, acceptanceCriteria.length];
    return all === 1 ? "Not signed off: its criterion failed" : `Not signed off: ${failed} of ${all} criteria failed`;
  }
  return (code && AFTER[code]) ?? "Not signed off";
}

function progress({ agent, notice, latestExecution }: Job): Pick<Standing, "headline" | "detail"> {
  const name = agent?.name ?? "the agent";
  const state = latestExecution?.state ?? "QUEUED";
  const details: Record<ExecutionState, string> = {
    QUEUED: `Waiting for its turn at ${name}.`,
    CALLING_AGENT: `${name} is working on it.`,
    VALIDATING: `${name} has answered; its answer is checked against the criteria.`,
    WAITING_RETRY: notice?.message ?? "It is asked again by itself.",
    FINISHED: "The outcome is on its way.",
  };
  return { headline: STATES[state], detail: details[state] };
}

/** What an execution is doing, in a word or two. */
export const STATES: Record<ExecutionState, string> = {
  QUEUED: "Queued",
  CALLING_AGENT: "Calling the agent",
  VALIDATING: "Validating",
  WAITING_RETRY: "Waiting for the validator",
  FINISHED: "Finished",
};

/** The steps of an execution, and how far it is. */
export const STEPS = ["Queued", "Agent", "Validation", "Signed off"] as const;

export function stepOf({ latestExecution }: Pick<Job, "latestExecution">): number {
  switch (latestExecution?.state) {
    case "CALLING_AGENT":
      return 1;
    case "VALIDATING":
    case "WAITING_RETRY":
      return 2;
    case "FINISHED":
      return 3;
    default:
      return 0;
  }
}
