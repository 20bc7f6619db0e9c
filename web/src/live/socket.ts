import { createClient } from "graphql-ws";
import type { TypedDocumentString } from "../gql/graphql";
import { signedOut } from "../queries";
import type { Sink } from "./follow";
import { patient } from "./patient";

const PING_MILLISECONDS = 10_000;
const PONG_MILLISECONDS = 5_000;

let open = false;
let pongDue: ReturnType<typeof setTimeout> | undefined;
/** Who wants to know when the socket is open. */
const openings = new Set<() => void>();

// Retrying is the follower's: it knows the cursor to go on from, and polls meanwhile.
const client = createClient({
  url: () => `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/graphql`,
  // Signing out may come before the socket is open.
  webSocketImpl: patient(WebSocket),
  retryAttempts: 0,
  keepAlive: PING_MILLISECONDS,
  lazyCloseTimeout: 1_000,
  // A lost network closes no socket: a pong that does not come does.
  on: {
    ping: (received) => {
      if (!received) pongDue = setTimeout(() => client.terminate(), PONG_MILLISECONDS);
    },
    pong: (received) => {
      if (received) clearTimeout(pongDue);
    },
    connected: () => {
      open = true;
      for (const opened of [...openings]) opened();
    },
    closed: () => {
      open = false;
      clearTimeout(pongDue);
    },
  },
});

/** Close the socket: whoever still follows something comes back with a new one. */
export const hangUp = () => client.terminate();

addEventListener("offline", hangUp);

/** Subscribe once; whatever ends it, but for the returned function, is a loss. */
export function subscribe<Result, Variables extends Record<string, unknown>>(
  document: TypedDocumentString<Result, Variables>,
  variables: Variables,
  sink: Sink<Result>,
): () => void {
  const opened = () => {
    openings.delete(opened);
    sink.opened();
  };
  openings.add(opened);
  if (open) queueMicrotask(opened);
  let stopped = false;
  const lost = (resumeFrom?: string) => {
    openings.delete(opened);
    if (!stopped) sink.lost(resumeFrom);
  };
  const stop = client.subscribe<Result>(
    { query: document.toString(), variables },
    {
      next: (message) => {
        if (message.data) sink.next(message.data);
      },
      error: (error) => {
        const { code, cursor } = extensionsOf(error);
        // Without a session, the next connection would end as this one did.
        if (code === "UNAUTHENTICATED") signedOut();
        lost(typeof cursor === "string" ? cursor : undefined);
      },
      complete: () => lost(),
    },
  );
  return () => {
    stopped = true;
    openings.delete(opened);
    stop();
  };
}

function extensionsOf(error: unknown): { code?: unknown; cursor?: unknown } {
  const first: unknown = Array.isArray(error) ? error[0] : undefined;
  return (first as { extensions?: { code?: unknown; cursor?: unknown } } | undefined)?.extensions ?? {};
}

/** Calls back when the network or the reader comes back. */
export function onReturn(callback: () => void): () => void {
  const whenVisible = () => {
    if (document.visibilityState === "visible") callback();
  };
  addEventListener("online", callback);
  document.addEventListener("visibilitychange", whenVisible);
  return () => {
    removeEventListener("online", callback);
    document.removeEventListener("visibilitychange", whenVisible);
  };
}
