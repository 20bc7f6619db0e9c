import { legibleJson } from "../api/json";
import type { AttemptFragment, JobPartsFragment, VerdictsFragment } from "../gql/graphql";
import { type Quote, quotesOf } from "../result/quotes";
import { ToneIcon } from "../ui/Badge";
import { Card } from "../ui/Card";
import { Prose } from "../ui/Prose";
import { VERDICTS } from "../ui/words";
import classes from "./CriteriaCard.module.css";

type Criterion = JobPartsFragment["acceptanceCriteria"][number];

interface CriteriaCardProps {
  job: JobPartsFragment;
  /** The latest that was judged. */
  attempt: AttemptFragment | null;
  /** Have the answer shown with its quotes marked; null: that answer is not on the page. */
  onQuote: (() => void) | null;
}

/** What an answer must meet, and whether the latest one did; what did not comes first. */
export function CriteriaCard({ job, attempt, onQuote }: CriteriaCardProps) {
  const found = new Map(attempt?.validation?.criteria.map((result) => [result.criterion.id, result]));
  const allQuotes = quotesOf(attempt?.validation?.criteria ?? []);
  const rows = job.acceptanceCriteria
    .map((criterion) => ({
      criterion,
      result: found.get(criterion.id),
      quotes: allQuotes.filter(({ criterionId }) => criterionId === criterion.id),
    }))
    .sort((one, other) => urgency(one.result) - urgency(other.result));
  return (
    <Card title="Acceptance criteria" note={attempt ? noteOf(job, attempt) : "Not judged yet"}>
      <ul className={classes.list}>
        {rows.map(({ criterion, result, quotes }) => (
          <li key={criterion.id} className={classes.row} data-tone={result ? VERDICTS[result.verdict].tone : "quiet"}>
            <span className={classes.icon}>
              <ToneIcon tone={result ? VERDICTS[result.verdict].tone : "quiet"} size={18} />
            </span>
            <div className={classes.words}>
              <p className={classes.text}>
                {criterion.text}
                {!criterion.required && <span className={classes.optional}>optional</span>}
                <span className={classes.verdict}>{result ? VERDICTS[result.verdict].name : ""}</span>
              </p>
              {result && result.verdict !== "PASS" ? (
                <>
                  <Finding result={result} quotes={quotes} onQuote={onQuote} />
                  <p className={classes.by}>Decided by {deciderName(result.decidedBy)}</p>
                </>
              ) : (
                <details className={classes.how}>
                  <summary>{result ? `Passed by ${deciderName(result.decidedBy)}` : wayOf(criterion)}</summary>
                  {result && <Finding result={result} quotes={quotes} onQuote={onQuote} />}
                  <Rule criterion={criterion} isDecided={result !== undefined} />
                </details>
              )}
            </div>
          </li>
        ))}
      </ul>
    </Card>
  );
}

interface FindingProps {
  result: VerdictsFragment;
  quotes: readonly Quote[];
  onQuote: (() => void) | null;
}

/** Why a criterion was decided as it was, and what the answer was quoted with. */
function Finding({ result, quotes, onQuote }: FindingProps) {
  return (
    <>
      <p className={classes.rationale}>
        <Prose text={result.rationale} />
      </p>
      {quotes.map(({ id, text }) =>
        onQuote ? (
          <a key={id} href={`#${id}`} className={classes.quote} onClick={onQuote}>
            “{text}”
          </a>
        ) : (
          <p key={id} className={classes.quote}>
            “{text}”
          </p>
        ),
      )}
    </>
  );
}

function Rule({ criterion: { expression, jsonSchema }, isDecided }: { criterion: Criterion; isDecided: boolean }) {
  if (expression) return <pre className={classes.code}>{expression}</pre>;
  if (jsonSchema !== null) return <pre className={classes.code}>{legibleJson(jsonSchema)}</pre>;
  if (isDecided) return null;
  return <p className={classes.by}>The validator reads the answer and quotes what it goes by.</p>;
}

const ORDER = { FAIL: 0, UNSURE: 1, PASS: 2 } as const;
const urgency = (result: VerdictsFragment | undefined) => (result ? ORDER[result.verdict] : 1);

const wayOf = ({ expression, jsonSchema }: Criterion) =>
  expression
    ? "Checked by an expression"
    : jsonSchema !== null
      ? "Checked by a JSON schema"
      : "Judged by the validator";

const DECIDERS: Record<string, string> = { expression: "an expression", json_schema: "a JSON schema" };
const deciderName = (decidedBy: string) => DECIDERS[decidedBy] ?? decidedBy;

function noteOf(job: JobPartsFragment, { number, jobRevision }: AttemptFragment): string {
  return jobRevision === job.revision ? `Judged in attempt ${number}` : `Judged in attempt ${number}; edited since`;
}
