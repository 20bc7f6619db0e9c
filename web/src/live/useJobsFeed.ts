import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { StatusChangedDocument } from "../gql/graphql";
import { type Connection, type Feed, follow } from "./follow";
import { onReturn, subscribe } from "./socket";
import { throttle } from "./throttle";

const REFRESH_MILLISECONDS = 500;

/** Keeps all lists of jobs up to date: each status change has them read again. */
export function useJobsFeed(after: string | undefined): Connection {
  const queries = useQueryClient();
  const [connection, setConnection] = useState<Connection>("connecting");
  const [start, setStart] = useState(after);
  if (start === undefined && after !== undefined) setStart(after);

  useEffect(() => {
    if (start === undefined) return;
    const refresh = throttle(() => void queries.invalidateQueries({ queryKey: ["jobs"] }), REFRESH_MILLISECONDS);
    const feed: Feed<{ cursor: string }> = {
      subscribe: (cursor, sink) =>
        subscribe(
          StatusChangedDocument,
          { after: cursor },
          {
            ...sink,
            next: ({ jobStatusChanged }) => sink.next(jobStatusChanged),
          },
        ),
      // Lists have no "since": without a socket they are simply read again.
      poll: async () => {
        refresh();
        return [];
      },
      onReturn,
    };
    const stop = follow(feed, start, { received: refresh, moved: setConnection });
    return () => {
      stop();
      refresh.cancel();
    };
  }, [queries, start]);

  return connection;
}
