import type { CountFragment, JobStatus } from "../gql/graphql";
import { ToneIcon } from "../ui/Badge";
import { STATUS_ORDER, STATUSES } from "../ui/words";
import classes from "./StatusTiles.module.css";

interface StatusTilesProps {
  counts: CountFragment[] | undefined;
  pressed: readonly JobStatus[];
  onToggle: (status: JobStatus) => void;
}

/** How many jobs are in each status; pressing one shows only those. */
export function StatusTiles({ counts, pressed, onToggle }: StatusTilesProps) {
  return (
    <div className={classes.tiles} role="group" aria-label="Status">
      {STATUS_ORDER.map((status) => {
        const { name, tone } = STATUSES[status];
        const count = counts && (counts.find((each) => each.status === status)?.count ?? 0);
        return (
          <button
            key={status}
            type="button"
            className={classes.tile}
            data-tone={tone}
            aria-pressed={pressed.includes(status)}
            onClick={() => onToggle(status)}
          >
            <span className={classes.count}>{count?.toLocaleString("en-GB") ?? "–"}</span>
            <span className={classes.name}>
              {/* Nothing turns here: nobody waits for a number. */}
              <ToneIcon tone={tone === "running" ? "ready" : tone} size={14} /> {name}
            </span>
          </button>
        );
      })}
    </div>
  );
}
