import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { ask } from "../api/ask";
import { attemptsQuery, jobQuery } from "../api/queries";
import { type JobLogType, LogAppendedDocument, LogsAfterDocument } from "../gql/graphql";
import type { Placed } from "../log/entries";
import { type Connection, type Feed, follow } from "./follow";
import { onReturn, subscribe } from "./socket";
import { throttle } from "./throttle";

const REFRESH_MILLISECONDS = 150;
/** Answers can be large: they are read again when there is one, and when an attempt begins or ends. */
const CHANGES_ATTEMPTS: ReadonlySet<JobLogType> = new Set(["STATUS_CHANGE", "AGENT_RESPONSE"]);

function jobFeed(jobId: string): Feed<Placed> {
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
export function useJobFeed(jobId: string, after: string | undefined): { events: Placed[]; connection: Connection } {
  const queries = useQueryClient();
  const [events, setEvents] = useState<Placed[]>([]);
  const [connection, setConnection] = useState<Connection>("connecting");
  // The page's first cursor is where the feed begins; later ones are behind it.
  const [start, setStart] = useState(after);
  if (start === undefined && after !== undefined) setStart(after);

  useEffect(() => {
    if (start === undefined) return;
    const read = (queryKey: string[]) => () => void queries.invalidateQueries({ queryKey, exact: true });
    const readJob = throttle(read(jobQuery(jobId).queryKey), REFRESH_MILLISECONDS);
    const readAttempts = throttle(read(attemptsQuery(jobId).queryKey), REFRESH_MILLISECONDS);
    const stop = follow(jobFeed(jobId), start, {
      received: (items) => {
        setEvents((before) => [...before, ...items]);
        readJob();
        if (items.some(({ entry }) => CHANGES_ATTEMPTS.has(entry.type))) readAttempts();
      },
      moved: setConnection,
    });
    return () => {
      stop();
      readJob.cancel();
      readAttempts.cancel();
    };
  }, [queries, jobId, start]);

  return { events, connection };
}
