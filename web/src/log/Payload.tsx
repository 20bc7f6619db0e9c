import { useQuery } from "@tanstack/react-query";
import { legibleJson } from "../api/json";
import { payloadQuery } from "../api/queries";
import type { EntryFragment, PayloadState } from "../gql/graphql";
import { CopyButton } from "../ui/CopyButton";
import { bytes, fully } from "../ui/format";
import { JsonTree } from "../ui/JsonTree";
import { Trouble } from "../ui/Trouble";
import classes from "./Payload.module.css";

/** What an entry holds, in full. */
export function Payload({ entry }: { entry: EntryFragment }) {
  const { data, error, refetch } = useQuery(payloadQuery(entry.id));
  const found = data && "payload" in data ? data : null;
  const { payload } = found ?? {};
  return (
    <div className={classes.payload}>
      <p className={classes.facts}>
        {fully(entry.timestamp)}, {entry.actor.displayName}
        {entry.errorCode && <>, {entry.errorCode}</>}
        {found?.traceId && (
          <>
            , trace <code>{found.traceId}</code>
          </>
        )}
      </p>
      <Trouble error={error} onRetry={() => void refetch()} />
      {found && <p className={classes.facts}>{stateOf(found.payloadState, entry.payloadBytes)}</p>}
      {payload !== null && payload !== undefined && (
        <>
          <div className={classes.content} role="region" aria-label="Payload" tabIndex={0}>
            <JsonTree value={payload} label="Payload" />
          </div>
          <CopyButton text={legibleJson(payload)} label="Copy payload" />
        </>
      )}
    </div>
  );
}

function stateOf(state: PayloadState, size: number): string {
  if (state === "PURGED") return `Its payload of ${bytes(size)} was purged.`;
  if (state === "TRUNCATED") return `Only a part of its payload of ${bytes(size)} is kept.`;
  return size === 0 ? "It has no payload." : "";
}
