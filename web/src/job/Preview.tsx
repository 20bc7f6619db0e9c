import type { UseQueryResult } from "@tanstack/react-query";
import type { PreviewQuery } from "../gql/graphql";
import { JsonTree } from "../ui/JsonTree";
import { Trouble } from "../ui/Trouble";
import classes from "./Preview.module.css";

/** The exact request, and all that would be wrong with it. Nothing is sent for it. */
export function Preview({ query }: { query: UseQueryResult<PreviewQuery["executionPreview"]> }) {
  const { data, error, refetch } = query;
  if (error) return <Trouble error={error} onRetry={() => void refetch()} />;
  if (!data) return <p className={classes.waiting}>Looking it up</p>;
  const problems = [
    ...data.inputErrors,
    ...(data.endpointAllowed ? [] : ["The agent’s address may not be called."]),
    ...data.undecidableCriteria.map(({ text }) => `Nothing here can decide “${text}”.`),
  ];
  return (
    <div className={classes.preview}>
      {problems.length > 0 ? (
        <ul className={classes.problems} data-tone="attention">
          {problems.map((problem) => (
            <li key={problem}>{problem}</li>
          ))}
        </ul>
      ) : (
        <p className={classes.fine} data-tone="good">
          The data fits the agent, and every criterion can be decided.
        </p>
      )}
      {data.worstCaseCostUsd !== null && data.worstCaseCostUsd > 0 && (
        <p className={classes.cost}>Validating costs ${data.worstCaseCostUsd.toFixed(4)} at most.</p>
      )}
      {data.request !== null && (
        <div className={classes.request} role="region" aria-label="Request" tabIndex={0}>
          <JsonTree value={data.request} label="Request" />
        </div>
      )}
    </div>
  );
}
