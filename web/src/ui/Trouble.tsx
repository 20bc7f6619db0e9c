import { Button } from "@mantine/core";
import { IconAlertTriangle } from "@tabler/icons-react";
import { RefusedError, RequestError, UnreachableError } from "../api/ask";
import { clock } from "./format";
import classes from "./Trouble.module.css";

/** What went wrong, where it happened, in the service's own words; nothing where nothing did. */
export function Trouble({ error, onRetry }: { error: Error | null; onRetry?: () => void }) {
  if (!error) return null;
  return (
    <div
      role="alert"
      tabIndex={-1}
      className={classes.trouble}
      data-tone={error instanceof RefusedError ? "attention" : "bad"}
    >
      <IconAlertTriangle size={18} aria-hidden />
      <div>
        {sentences(error).map((sentence) => (
          <p key={sentence}>{sentence}</p>
        ))}
      </div>
      {onRetry && (
        <Button size="compact-sm" variant="default" onClick={onRetry}>
          Try again
        </Button>
      )}
    </div>
  );
}

function sentences(error: Error): string[] {
  if (error instanceof RefusedError) {
    return error.refusals.map(({ message, retryAt }) =>
      retryAt ? `${message} Again from ${clock(retryAt)}.` : message,
    );
  }
  if (error instanceof UnreachableError) return [`${error.message} Check the connection, then try again.`];
  if (error instanceof RequestError) return [error.message];
  return ["Something went wrong on this page. Reload it, and tell an operator if it happens again."];
}
