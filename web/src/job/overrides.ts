import type { JobAction, JobPartsFragment } from "../gql/graphql";

type Job = Pick<JobPartsFragment, "status" | "agent" | "result">;

export interface Override {
  action: Extract<JobAction, `FORCE_${string}`>;
  name: string;
  /** What comes of it, in a sentence. */
  consequence: (job: Job) => string;
}

const ends = ({ status }: Job) =>
  status === "IN_EXECUTION" ? "The running execution is ended, its answer is dropped. " : "";
const forgets = ({ status }: Job) => (status === "COMPLETED" ? "The result is taken back. " : "");

export const OVERRIDES: readonly Override[] = [
  {
    action: "FORCE_EXECUTE",
    name: "Force an execution",
    consequence: (job) =>
      `${ends(job)}The job is sent to ${job.agent?.name ?? "its agent"} again, whatever its status.` +
      (job.status === "COMPLETED" ? " If the new answer is not accepted, the job is no longer completed." : ""),
  },
  {
    action: "FORCE_ASSIGN",
    name: "Force an assignment",
    consequence: (job) => `${ends(job)}${forgets(job)}The job becomes Assigned, with the agent that you choose.`,
  },
  {
    action: "FORCE_COMPLETE",
    name: "Force completion",
    consequence: (job) => `${ends(job)}The job becomes Completed without passing its criteria.`,
  },
  {
    action: "FORCE_RESUBMISSION",
    name: "Force a re-submission",
    consequence: (job) => `${ends(job)}${forgets(job)}The job becomes Re-submission Required: its owner has to act.`,
  },
];
