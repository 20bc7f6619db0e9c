import { NativeSelect } from "@mantine/core";
import { useMemo, useState } from "react";
import type { AttemptFragment } from "../gql/graphql";
import classes from "./AnswerDifference.module.css";
import { difference, isUnchanged, type Line } from "./difference";

const SIGNS = { same: " ", added: "+", removed: "−" } as const;

/** What an answer has other than the one before. */
export function AnswerDifference({ attempts }: { attempts: AttemptFragment[] }) {
  const [chosen, setChosen] = useState<string | null>(null);
  const pairs = attempts.slice(1).map((after, index) => ({ before: attempts[index] as AttemptFragment, after }));
  const pair = pairs.find(({ after }) => after.id === chosen) ?? pairs.at(-1);
  if (!pair) return null;
  return (
    <div className={classes.difference}>
      <div className={classes.header}>
        <h3>What changed in the answer</h3>
        <NativeSelect
          size="xs"
          aria-label="Which answers are compared"
          value={pair.after.id}
          onChange={(event) => setChosen(event.currentTarget.value)}
          data={pairs.toReversed().map(({ before, after }) => ({
            value: after.id,
            label: `Attempt ${before.number} → ${after.number}`,
          }))}
        />
      </div>
      <Difference before={pair.before.answer} after={pair.after.answer} />
    </div>
  );
}

function Difference({ before, after }: { before: unknown; after: unknown }) {
  // Large answers are not compared anew with each event of the page.
  const lines = useMemo(() => difference(before, after), [before, after]);
  if (lines === null) return <p className={classes.quiet}>The answers are too long to compare here.</p>;
  if (isUnchanged(lines)) return <p className={classes.quiet}>Nothing: both answers are the same.</p>;
  return <Lines lines={lines} />;
}

function Lines({ lines }: { lines: Line[] }) {
  return (
    <pre className={classes.lines} role="region" tabIndex={0} aria-label="Changed lines">
      {lines.map((line, index) =>
        line.kind === "gap" ? (
          <span key={index} className={classes.gap}>
            {`⋯ ${line.count} unchanged\n`}
          </span>
        ) : (
          <span key={index} data-kind={line.kind}>
            {`${SIGNS[line.kind]} ${line.text}\n`}
          </span>
        ),
      )}
    </pre>
  );
}
