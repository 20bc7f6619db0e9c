import {
  IconArrowDownLeft,
  IconArrowUpRight,
  IconChevronRight,
  IconCircleDot,
  IconClipboardCheck,
  IconClipboardText,
  IconPencil,
  IconShieldHalf,
} from "@tabler/icons-react";
import type { EntryFragment, JobLogType } from "../gql/graphql";
import { bytes, clock, duration, fully } from "../ui/format";
import { LOG_STATUSES, STATUSES } from "../ui/words";
import classes from "./EntryRow.module.css";
import { TYPE_NAMES } from "./entries";
import { Payload } from "./Payload";

const ICONS = {
  AGENT_REQUEST: IconArrowUpRight,
  AGENT_RESPONSE: IconArrowDownLeft,
  VALIDATOR_REQUEST: IconClipboardText,
  VALIDATOR_RESPONSE: IconClipboardCheck,
  STATUS_CHANGE: IconCircleDot,
  JOB_EDIT: IconPencil,
  ADMIN_ACTION: IconShieldHalf,
} as const satisfies Record<JobLogType, unknown>;

interface EntryRowProps {
  entry: EntryFragment;
  open: boolean;
  onToggle: () => void;
}

/** One line of the log; what was sent or received is looked up when somebody opens it. */
export function EntryRow({ entry, open, onToggle }: EntryRowProps) {
  const Icon = ICONS[entry.type];
  return (
    <article className={classes.entry} data-tone={toneOf(entry)}>
      <button type="button" className={classes.line} aria-expanded={open} onClick={onToggle}>
        <time className={classes.time} dateTime={entry.timestamp} title={fully(entry.timestamp)}>
          {clock(entry.timestamp)}
        </time>
        <span className={classes.icon}>
          <Icon size={16} aria-hidden />
        </span>
        <span className={classes.words}>
          <span className={classes.type}>{TYPE_NAMES[entry.type]}</span>
          <span className={classes.message}>{messageOf(entry)}</span>
        </span>
        <span className={classes.facts}>{factsOf(entry).join(" · ")}</span>
        <IconChevronRight size={16} aria-hidden className={classes.chevron} />
      </button>
      {open && <Payload entry={entry} />}
    </article>
  );
}

function toneOf({ status, toStatus }: EntryFragment) {
  return status === "OK" && toStatus ? STATUSES[toStatus].tone : LOG_STATUSES[status].tone;
}

function messageOf({ message, fromStatus, toStatus }: EntryFragment): string {
  if (!toStatus) return message;
  return `${fromStatus ? `${STATUSES[fromStatus].name} → ` : ""}${STATUSES[toStatus].name} · ${message}`;
}

function factsOf(entry: EntryFragment): string[] {
  const { status, httpStatus, durationMs, payloadBytes, attempt, actor } = entry;
  const facts: string[] = [];
  if (status !== "OK") facts.push(LOG_STATUSES[status].name);
  if (httpStatus !== null) facts.push(`HTTP ${httpStatus}`);
  if (durationMs !== null) facts.push(duration(durationMs));
  if (payloadBytes > 0) facts.push(bytes(payloadBytes));
  if (isRepeated(entry)) facts.push(`try ${attempt}`);
  facts.push(actor.displayName);
  return facts;
}

/** A validator's tries count the checks by code as well: they say something only where one went wrong. */
const isRepeated = ({ attempt, type, status }: EntryFragment) =>
  attempt !== null && attempt > 1 && (type.startsWith("AGENT") || status !== "OK");
