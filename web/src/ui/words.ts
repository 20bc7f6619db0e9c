import type { ExecutionOutcome, JobLogStatus, JobStatus, Verdict } from "../gql/graphql";

/** What the interface calls things. The colour of a tone is in tokens.css. */
export type Tone = "quiet" | "ready" | "running" | "attention" | "good" | "bad";

export interface Wording {
  name: string;
  tone: Tone;
}

export const STATUSES: Record<JobStatus, Wording> = {
  PENDING: { name: "Pending", tone: "quiet" },
  ASSIGNED: { name: "Assigned", tone: "ready" },
  IN_EXECUTION: { name: "In Execution", tone: "running" },
  RESUBMISSION_REQUIRED: { name: "Re-submission Required", tone: "attention" },
  COMPLETED: { name: "Completed", tone: "good" },
};

export const STATUS_ORDER: readonly JobStatus[] = [
  "PENDING",
  "ASSIGNED",
  "IN_EXECUTION",
  "RESUBMISSION_REQUIRED",
  "COMPLETED",
];

export const OUTCOMES: Record<ExecutionOutcome, Wording> = {
  ACCEPTED: { name: "Accepted", tone: "good" },
  REJECTED: { name: "Rejected", tone: "attention" },
  UNDECIDED: { name: "Undecided", tone: "attention" },
  OUTPUT_INVALID: { name: "Wrong form of answer", tone: "attention" },
  INPUT_INVALID: { name: "Data did not fit", tone: "bad" },
  AGENT_FAILED: { name: "Agent failed", tone: "bad" },
  AGENT_OUTCOME_UNKNOWN: { name: "Answer lost", tone: "bad" },
  VALIDATOR_UNAVAILABLE: { name: "Validator unavailable", tone: "attention" },
  CANCELLED: { name: "Cancelled", tone: "quiet" },
  SUPERSEDED: { name: "Superseded", tone: "quiet" },
};

export const VERDICTS: Record<Verdict, Wording> = {
  PASS: { name: "Passed", tone: "good" },
  FAIL: { name: "Failed", tone: "bad" },
  UNSURE: { name: "Unsure", tone: "attention" },
};

export const LOG_STATUSES: Record<JobLogStatus, Wording> = {
  OK: { name: "OK", tone: "quiet" },
  ERROR: { name: "Error", tone: "bad" },
  TIMEOUT: { name: "Time-out", tone: "bad" },
  UNKNOWN: { name: "Unknown", tone: "attention" },
};
