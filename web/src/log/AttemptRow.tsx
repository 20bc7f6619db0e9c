import type { ExecutionOutcome } from "../gql/graphql";
import { Badge } from "../shared/Badge";
import { OUTCOMES } from "../shared/words";
import classes from "./AttemptRow.module.css";

export function AttemptRow({ number, outcome }: { number: number | null; outcome: ExecutionOutcome | null }) {
  return (
    <div className={classes.row}>
      <h3>{number === null ? "Around the attempts" : `Attempt ${number}`}</h3>
      {outcome && <Badge {...OUTCOMES[outcome]} />}
    </div>
  );
}
