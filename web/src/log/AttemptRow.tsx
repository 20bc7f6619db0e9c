import type { ExecutionOutcome } from "../gql/graphql";
import { Badge } from "../ui/Badge";
import { OUTCOMES } from "../ui/words";
import classes from "./AttemptRow.module.css";

export function AttemptRow({ number, outcome }: { number: number | null; outcome: ExecutionOutcome | null }) {
  return (
    <div className={classes.row}>
      <h3>{number === null ? "The job itself" : `Attempt ${number}`}</h3>
      {outcome && <Badge {...OUTCOMES[outcome]} />}
    </div>
  );
}
