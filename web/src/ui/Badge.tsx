import { IconAlertTriangle, IconCheck, IconCircleDashed, IconCircleDot, IconLoader2, IconX } from "@tabler/icons-react";
import type { JobStatus } from "../gql/graphql";
import classes from "./Badge.module.css";
import { STATUSES, type Tone, type Wording } from "./words";

const ICONS = {
  quiet: IconCircleDashed,
  ready: IconCircleDot,
  running: IconLoader2,
  attention: IconAlertTriangle,
  good: IconCheck,
  bad: IconX,
} as const satisfies Record<Tone, unknown>;

export function ToneIcon({ tone, size = 16 }: { tone: Tone; size?: number }) {
  const Icon = ICONS[tone];
  return <Icon size={size} stroke={2} aria-hidden className={tone === "running" ? classes.turning : undefined} />;
}

/** A word with a colour and a sign: none of the three is needed to understand the others. */
export function Badge({ name, tone }: Wording) {
  return (
    <span className={classes.badge} data-tone={tone}>
      <ToneIcon tone={tone} size={14} />
      {name}
    </span>
  );
}

export function StatusBadge({ status }: { status: JobStatus }) {
  return <Badge {...STATUSES[status]} />;
}
