import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { ask } from "../api/ask";
import { type EntryFragment, LogAppendedDocument, LogsAfterDocument } from "../gql/graphql";
import { type Connection, type Feed, follow } from "./follow";
import { onReturn, subscribe } from "./socket";
import { throttle } from "./throttle";

const REFRESH_MILLISECONDS = 150;

export interface LogEvent {
  cursor: string;
  entry: EntryFragment;
}

function jobFeed(jobId: string): Feed<LogEvent> {
  return {
    subscribe: (after, sink) =>
      subscribe(
        LogAppendedDocument,
        { jobId, after },
        {
          ...sink,
          next: ({ jobLogAppended: { cursor, log } }) => sink.next({ cursor, entry: log }),
        },
      ),
    poll: async (after) => {
      const { job } = await ask(LogsAfterDocument, { id: jobId, after });
      return job?.logs.edges.map(({ cursor, node }) => ({ cursor, entry: node })) ?? [];
    },
    onReturn,
  };
}

/** What has been logged of a job since `after`, live; each event has the job read again. */
export function useJobFeed(jobId: string, after: string | undefined): { events: LogEvent[]; connection: Connection } {
  const queries = useQueryClient();
  const [events, setEvents] = useState<LogEvent[]>([]);
  const [connection, setConnection] = useState<Connection>("connecting");
  // The page's first cursor is where the feed begins; later ones are behind it.
  const [start, setStart] = useState(after);
  if (start === undefined && after !== undefined) setStart(after);

  useEffect(() => {
    if (start === undefined) return;
    const refresh = throttle(() => void queries.invalidateQueries({ queryKey: ["job", jobId] }), REFRESH_MILLISECONDS);
    const stop = follow(jobFeed(jobId), start, {
      received: (items) => {
        setEvents((before) => [...before, ...items]);
        refresh();
      },
      moved: setConnection,
    });
    return () => {
      stop();
      refresh.cancel();
    };
  }, [queries, jobId, start]);

  return { events, connection };
}
