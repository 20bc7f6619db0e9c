/**
 * Following a feed by its cursor. While the socket is there, events are pushed; while it is lost, they are asked for
 * again and again. Either way each event comes once, in order: the cursor says what was seen.
 */

export type Connection = "connecting" | "live" | "polling";

export interface Position {
  connection: Connection;
  /** The last event that was seen; null: none yet, so from the beginning. */
  cursor: string | null;
  /** Connections that failed in a row. */
  failures: number;
}

export type Happening =
  | { kind: "opened" }
  | { kind: "received"; cursor: string }
  /** A slow reader is let go with the cursor to resume from. */
  | { kind: "lost"; resumeFrom?: string };

export function advance(position: Position, happening: Happening): Position {
  switch (happening.kind) {
    case "opened":
      return { ...position, connection: "live", failures: 0 };
    case "received":
      return { ...position, cursor: happening.cursor };
    case "lost":
      return {
        connection: "polling",
        cursor: happening.resumeFrom ?? position.cursor,
        failures: position.failures + 1,
      };
  }
}

export const POLL_MILLISECONDS = 3_000;
const LONGEST_WAIT = 30_000;

/** How long to wait before the next connection: at once after the first loss, then longer and longer. */
export function waitBefore(failures: number): number {
  return failures <= 1 ? 250 : Math.min(LONGEST_WAIT, 500 * 2 ** (failures - 1));
}

export interface Sink<Item> {
  opened(): void;
  next(item: Item): void;
  lost(resumeFrom?: string): void;
}

export interface Feed<Item> {
  subscribe(after: string | null, sink: Sink<Item>): () => void;
  poll(after: string | null): Promise<Item[]>;
  /** Calls back when it may be worth connecting again at once; returns how to stop that. */
  onReturn(callback: () => void): () => void;
}

export interface Follower<Item> {
  received(items: Item[]): void;
  moved(connection: Connection): void;
}

/** Follow until the returned function is called. */
export function follow<Item extends { cursor: string }>(
  feed: Feed<Item>,
  after: string | null,
  follower: Follower<Item>,
): () => void {
  let position: Position = { connection: "connecting", cursor: after, failures: 0 };
  let ended = false;
  let unsubscribe = () => {};
  let reconnect: ReturnType<typeof setTimeout> | undefined;
  let poll: ReturnType<typeof setTimeout> | undefined;

  const happen = (happening: Happening) => {
    const { connection } = position;
    position = advance(position, happening);
    if (position.connection !== connection) follower.moved(position.connection);
  };
  const receive = (items: Item[]) => {
    const last = items.at(-1);
    if (!last) return;
    happen({ kind: "received", cursor: last.cursor });
    follower.received(items);
  };

  const connect = () => {
    clearTimeout(reconnect);
    unsubscribe();
    let current = true;
    const stop = feed.subscribe(position.cursor, {
      opened: () => {
        if (!current) return;
        clearTimeout(poll);
        happen({ kind: "opened" });
      },
      next: (item) => {
        if (current) receive([item]);
      },
      lost: (resumeFrom) => {
        if (!current || ended) return;
        current = false;
        happen(resumeFrom === undefined ? { kind: "lost" } : { kind: "lost", resumeFrom });
        reconnect = setTimeout(connect, waitBefore(position.failures));
        keepPolling();
      },
    });
    unsubscribe = () => {
      current = false;
      stop();
    };
  };

  const keepPolling = () => {
    clearTimeout(poll);
    poll = setTimeout(async () => {
      const asked = position.cursor;
      const items = await feed.poll(asked).catch(() => []);
      // What came meanwhile by the socket was counted already.
      if (ended || position.cursor !== asked) return;
      receive(items);
      if (position.connection !== "live") keepPolling();
    }, POLL_MILLISECONDS);
  };

  const stopWaiting = feed.onReturn(() => {
    if (position.connection === "polling") connect();
  });
  connect();
  return () => {
    ended = true;
    clearTimeout(reconnect);
    clearTimeout(poll);
    stopWaiting();
    unsubscribe();
  };
}
