import type { AttemptFragment } from "../gql/graphql";
import { Badge } from "../ui/Badge";
import { Card } from "../ui/Card";
import { between, counted, duration } from "../ui/format";
import { Moment } from "../ui/Moment";
import { OUTCOMES } from "../ui/words";
import { AnswerDifference } from "./AnswerDifference";
import classes from "./AttemptsCard.module.css";
import { VerdictTable } from "./VerdictTable";

const RUNNING = { name: "Running", tone: "running" } as const;

/** Each press of Execute and what came of it; then what changed between them. */
export function AttemptsCard({ attempts, total }: { attempts: AttemptFragment[]; total: number }) {
  const newest = attempts.toReversed();
  const judged = attempts.filter(({ validation }) => validation);
  const answered = attempts.filter(({ answer }) => answer !== null);
  const note = total > attempts.length ? `The last ${attempts.length} of ${total}` : counted(total, "attempt");
  return (
    <Card title="Attempts" note={note}>
      <ol className={classes.list}>
        {newest.map((attempt) => (
          <li key={attempt.id} className={classes.attempt}>
            <span className={classes.number}>{attempt.number}</span>
            <Badge {...(attempt.outcome ? OUTCOMES[attempt.outcome] : RUNNING)} />
            <span className={classes.facts}>{factsOf(attempt)}</span>
            <span className={classes.when}>
              <Moment at={attempt.queuedAt} />
            </span>
          </li>
        ))}
      </ol>
      {judged.length > 1 && <VerdictTable attempts={judged.slice(-4)} />}
      {answered.length > 1 && <AnswerDifference attempts={answered} />}
    </Card>
  );
}

function factsOf({ agent, requestedBy, queuedAt, finishedAt, validation }: AttemptFragment): string {
  const parts = [agent.name, `by ${requestedBy.displayName}`];
  if (finishedAt) parts.push(duration(between(queuedAt, finishedAt)));
  if (validation) {
    const passed = validation.criteria.filter(({ verdict }) => verdict === "PASS").length;
    parts.push(`${passed} of ${validation.criteria.length} passed`);
    if (validation.costUsd) parts.push(`$${validation.costUsd.toFixed(4)}`);
  }
  return parts.join(" · ");
}
