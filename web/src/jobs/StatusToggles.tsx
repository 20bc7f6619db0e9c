import { Button } from "@mantine/core";
import type { JobStatus } from "../gql/graphql";
import { STATUS_ORDER, STATUSES } from "../ui/words";
import classes from "./StatusToggles.module.css";

interface StatusTogglesProps {
  pressed: readonly JobStatus[];
  onToggle: (status: JobStatus) => void;
}

export function StatusToggles({ pressed, onToggle }: StatusTogglesProps) {
  return (
    <div className={classes.toggles} role="group" aria-label="Status">
      {STATUS_ORDER.map((status) => (
        <Button
          key={status}
          size="compact-sm"
          variant={pressed.includes(status) ? "light" : "default"}
          aria-pressed={pressed.includes(status)}
          onClick={() => onToggle(status)}
        >
          {STATUSES[status].name}
        </Button>
      ))}
    </div>
  );
}
