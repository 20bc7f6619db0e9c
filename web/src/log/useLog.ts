import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { ask } from "../api/ask";
import { type EntryFragment, LogsDocument } from "../gql/graphql";
import { merged, type Order, type Placed } from "./entries";
import { asked, type LogFilter } from "./filter";

const PAGE = 100;

interface Log {
  entries: EntryFragment[];
  /** Null: not known yet. */
  total: number | null;
  error: Error | null;
  retry: () => void;
  /** Null: there are no more, or they are on their way. */
  loadMore: (() => void) | null;
}

/** A job's log page by page, with what comes live. The pages are read once; what is new is the feed's. */
export function useLog(jobId: string, live: readonly Placed[], filter: LogFilter, order: Order): Log {
  const query = useInfiniteQuery({
    queryKey: ["log", jobId, filter, order],
    queryFn: async ({ pageParam, signal }) => {
      const place = order === "newest" ? { last: PAGE, before: pageParam } : { first: PAGE, after: pageParam };
      const { job } = await ask(LogsDocument, { id: jobId, filter: asked(filter), ...place }, signal);
      return job?.logs;
    },
    initialPageParam: null as string | null,
    getNextPageParam: (page) => {
      if (!page) return undefined;
      const { edges, pageInfo } = page;
      // Edges come oldest first, whichever end is read.
      return order === "newest"
        ? pageInfo.hasPreviousPage
          ? edges[0]?.cursor
          : undefined
        : pageInfo.hasNextPage
          ? edges.at(-1)?.cursor
          : undefined;
    },
    staleTime: Number.POSITIVE_INFINITY,
    // A log that was left is read anew: what came meanwhile was nobody's to keep.
    gcTime: 0,
    placeholderData: keepPreviousData,
  });
  const { data, error, hasNextPage, isFetching, fetchNextPage, refetch } = query;
  const entries = useMemo(() => {
    const pages = (data?.pages ?? []).map((page) => {
      const placed = page?.edges.map(({ cursor, node }) => ({ cursor, entry: node })) ?? [];
      return order === "newest" ? placed.reverse() : placed;
    });
    return merged(pages, data ? live : [], { filter, order, complete: !hasNextPage });
  }, [data, live, filter, order, hasNextPage]);
  const read = data?.pages.reduce((sum, page) => sum + (page?.edges.length ?? 0), 0) ?? 0;
  const first = data?.pages[0]?.totalCount;
  return {
    entries,
    total: first === undefined ? null : first + Math.max(0, entries.length - read),
    error,
    retry: () => void refetch(),
    loadMore: hasNextPage && !isFetching ? () => void fetchNextPage() : null,
  };
}
