import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { agentRecordQuery } from "../api/queries";
import { duration } from "../ui/format";
import { OUTCOMES } from "../ui/words";
import classes from "./RecordStrip.module.css";
import { recordOf } from "./record";

/** An agent's latest outcomes, a mark each, and how long it takes to answer. */
export function RecordStrip({ agentId }: { agentId: string }) {
  const { data } = useQuery(agentRecordQuery(agentId));
  if (!data) return <p className={classes.facts}>&nbsp;</p>;
  const { outcomes, medianMs, slowestMs } = recordOf(agentId, data.nodes);
  if (outcomes.length === 0) return <p className={classes.facts}>Has not been called for a job yet.</p>;
  const accepted = outcomes.filter(({ outcome }) => outcome === "ACCEPTED").length;
  return (
    <div className={classes.record}>
      <ol className={classes.marks} aria-label="Latest outcomes, the newest last">
        {outcomes.map(({ executionId, jobId, jobTitle, outcome }) => {
          const { name, tone } = OUTCOMES[outcome];
          return (
            <li key={executionId}>
              <Link
                href={`/admin/jobs/${jobId}`}
                data-tone={tone}
                title={`${name}: ${jobTitle}`}
                aria-label={`${name}: ${jobTitle}`}
              />
            </li>
          );
        })}
      </ol>
      <p className={classes.facts}>
        {accepted} of {outcomes.length} accepted
        {medianMs !== null && ` · answers in ${duration(medianMs)}`}
        {slowestMs !== null && slowestMs !== medianMs && `, at the slowest in ${duration(slowestMs)}`}
      </p>
    </div>
  );
}
