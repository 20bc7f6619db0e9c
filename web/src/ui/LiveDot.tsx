import type { Connection } from "../live/follow";
import classes from "./LiveDot.module.css";

const WORDS: Record<Connection, string> = {
  connecting: "Connecting",
  live: "Live",
  polling: "Connection lost: read again every few seconds",
};

/** Whether the page follows by itself. */
export function LiveDot({ connection }: { connection: Connection }) {
  return (
    <span role="status" className={classes.live} data-connection={connection}>
      {WORDS[connection]}
    </span>
  );
}
