import type { AttemptFragment, JobPartsFragment, VerdictsFragment } from "../gql/graphql";
import { quotesOf } from "../result/quotes";
import { ToneIcon } from "../ui/Badge";
import { Card } from "../ui/Card";
import { Prose } from "../ui/Prose";
import { VERDICTS } from "../ui/words";
import classes from "./CriteriaCard.module.css";

type Criterion = JobPartsFragment["acceptanceCriteria"][number];

/** What an answer must meet, and whether the latest one did; what did not comes first. */
export function CriteriaCard({ job, attempt }: { job: JobPartsFragment; attempt: AttemptFragment | null }) {
  const found = new Map(attempt?.validation?.criteria.map((result) => [result.criterion.id, result]));
  const rows = job.acceptanceCriteria
    .map((criterion) => ({ criterion, result: found.get(criterion.id) }))
    .sort((one, other) => urgency(one.result) - urgency(other.result));
  const quotes = quotesOf(attempt?.validation?.criteria ?? []);
  return (
    <Card title="Acceptance criteria" note={attempt ? noteOf(job, attempt) : "Not judged yet"}>
      <ul className={classes.list}>
        {rows.map(({ criterion, result }) => (
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
                <Finding result={result} quotes={quotes.filter((quote) => quote.criterionId === criterion.id)} />
              ) : (
                <HowChecked criterion={criterion} result={result} />
              )}
            </div>
          </li>
        ))}
      </ul>
    </Card>
  );
}

function Finding({ result, quotes }: { result: VerdictsFragment; quotes: { id: string; text: string }[] }) {
  return (
    <>
      <p className={classes.rationale}>
        <Prose text={result.rationale} />
      </p>
      {quotes.map(({ id, text }) => (
        <a key={id} href={`#${id}`} className={classes.quote}>
          “{text}”
        </a>
      ))}
      <p className={classes.by}>Decided by {deciderName(result.decidedBy)}</p>
    </>
  );
}

function HowChecked({ criterion, result }: { criterion: Criterion; result: VerdictsFragment | undefined }) {
  return (
    <details className={classes.how}>
      <summary>{result ? `Passed by ${deciderName(result.decidedBy)}` : wayOf(criterion)}</summary>
      {result && (
        <p className={classes.rationale}>
          <Prose text={result.rationale} />
        </p>
      )}
      {criterion.expression && <pre className={classes.code}>{criterion.expression}</pre>}
      {criterion.jsonSchema !== null && <pre className={classes.code}>{JSON.stringify(criterion.jsonSchema, null, 2)}</pre>}
      {!result && !criterion.expression && criterion.jsonSchema === null && (
        <p className={classes.rationale}>The validator reads the answer and quotes what it goes by.</p>
      )}
    </details>
  );
}

const ORDER = { FAIL: 0, UNSURE: 1, PASS: 2 } as const;
const urgency = (result: VerdictsFragment | undefined) => (result ? ORDER[result.verdict] : 1);

const wayOf = ({ expression, jsonSchema }: Criterion) =>
  expression ? "Checked by an expression" : jsonSchema !== null ? "Checked by a JSON schema" : "Judged by the validator";

const DECIDERS: Record<string, string> = { expression: "an expression", json_schema: "a JSON schema" };
const deciderName = (decidedBy: string) => DECIDERS[decidedBy] ?? decidedBy;

function noteOf(job: JobPartsFragment, { number, jobRevision }: AttemptFragment): string {
  return jobRevision === job.revision ? `Judged in attempt ${number}` : `Judged in attempt ${number}; edited since`;
}
