import type { AttemptFragment, CriterionChange } from "../gql/graphql";
import { ToneIcon } from "../ui/Badge";
import { VERDICTS } from "../ui/words";
import classes from "./VerdictTable.module.css";

const CHANGES: Partial<Record<CriterionChange, string>> = { FIXED: "Fixed", REGRESSED: "Got worse" };

/** Attempts side by side, criterion by criterion. */
export function VerdictTable({ attempts }: { attempts: AttemptFragment[] }) {
  const results = attempts.map(
    ({ validation }) => new Map(validation?.criteria.map((each) => [each.criterion.id, each])),
  );
  const criteria = new Map(
    attempts.flatMap(({ validation }) => validation?.criteria ?? []).map(({ criterion }) => [criterion.id, criterion]),
  );
  return (
    <div className={classes.scroll} role="region" aria-label="Verdicts of each attempt" tabIndex={0}>
      <table className={classes.table}>
        <thead>
          <tr>
            <th scope="col">Criterion</th>
            {attempts.map(({ id, number }) => (
              <th key={id} scope="col">
                Attempt {number}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {[...criteria.values()].map(({ id, text }) => (
            <tr key={id}>
              <th scope="row">{text}</th>
              {results.map((result, index) => {
                const now = result.get(id)?.verdict;
                const change = attempts[index]?.comparison.find(({ criterion }) => criterion.id === id)?.change;
                return (
                  <td key={attempts[index]?.id} data-tone={now ? VERDICTS[now].tone : "quiet"}>
                    {now ? (
                      <span className={classes.verdict}>
                        <ToneIcon tone={VERDICTS[now].tone} size={14} />{" "}
                        {(change && CHANGES[change]) ?? VERDICTS[now].name}
                      </span>
                    ) : (
                      "–"
                    )}
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
