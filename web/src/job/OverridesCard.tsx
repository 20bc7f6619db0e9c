import { Button } from "@mantine/core";
import { useState } from "react";
import type { JobPartsFragment } from "../gql/graphql";
import { Card } from "../ui/Card";
import { OverrideDialog } from "./OverrideDialog";
import classes from "./OverridesCard.module.css";
import { OVERRIDES, type Override } from "./overrides";

/** What only an admin may do, each with what comes of it. */
export function OverridesCard({ job }: { job: JobPartsFragment }) {
  const [chosen, setChosen] = useState<Override | null>(null);
  const open = OVERRIDES.filter(({ action }) => job.availableActions.includes(action));
  return (
    <Card title="Overrides">
      {open.length === 0 && <p className={classes.consequence}>None is possible just now.</p>}
      <ul className={classes.list}>
        {open.map((override) => (
          <li key={override.action}>
            <Button variant="default" fullWidth onClick={() => setChosen(override)}>
              {override.name}
            </Button>
            <p className={classes.consequence}>{override.consequence(job)}</p>
          </li>
        ))}
      </ul>
      {chosen && <OverrideDialog override={chosen} job={job} onClose={() => setChosen(null)} />}
    </Card>
  );
}
