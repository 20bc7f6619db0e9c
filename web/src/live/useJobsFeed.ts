import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { StatusChangedDocument } from "../gql/graphql";
import { type Connection, type Feed, follow } from "./follow";
import { onReturn, subscribe } from "./socket";
import { throttle } from "./throttle";

const REFRESH_MILLISECONDS = 500;
/** The chart counts all jobs of its time, which may be many: where much happens it follows at leisure. */
const REDRAW_MILLISECONDS = 10_000;

/** Keeps all lists of jobs up to date, and the chart: each status change has them read again. */
export function useJobsFeed(after: string | undefined): Connection {
  const queries = useQueryClient();
  const [connection, setConnection] = useState<Connection>("connecting");
  const [start, setStart] = useState(after);
  if (start === undefined && after !== undefined) setStart(after);

  useEffect(() => {
    if (start === undefined) return;
    const read = (key: string) => () => void queries.invalidateQueries({ queryKey: [key] });
    const refreshLists = throttle(read("jobs"), REFRESH_MILLISECONDS);
    const redraw = throttle(read("trend"), REDRAW_MILLISECONDS);
    const refresh = () => {
      refreshLists();
      redraw();
    };
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
      refreshLists.cancel();
      redraw.cancel();
    };
  }, [queries, start]);

  return connection;
}
