import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import {
  AgentChangesDocument,
  AgentNamesDocument,
  AgentRecordDocument,
  AgentsDocument,
  AttemptsDocument,
  CountsDocument,
  JobDocument,
  type JobFilter,
  type JobOrder,
  JobsDocument,
  PayloadDocument,
  PreviewDocument,
  StuckDocument,
  ViewerDocument,
} from "../gql/graphql";
import { ask, isSignedOut } from "./ask";

const PAGE = 25;

export const viewerQuery = queryOptions({
  queryKey: ["viewer"],
  queryFn: async ({ signal }) => {
    try {
      return (await ask(ViewerDocument, {}, signal)).viewer;
    } catch (error) {
      if (isSignedOut(error)) return null;
      throw error;
    }
  },
  staleTime: Number.POSITIVE_INFINITY,
});

export const jobQuery = (id: string) =>
  queryOptions({
    queryKey: ["job", id],
    queryFn: ({ signal }) => ask(JobDocument, { id }, signal),
  });

export const attemptsQuery = (id: string) =>
  queryOptions({
    queryKey: ["job", id, "attempts"],
    queryFn: async ({ signal }) => (await ask(AttemptsDocument, { id }, signal)).job?.executions ?? null,
  });

export const previewQuery = (jobId: string, revision: number | null, agentId: string | null) =>
  queryOptions({
    queryKey: ["preview", jobId, revision, agentId],
    queryFn: async ({ signal }) => (await ask(PreviewDocument, { jobId }, signal)).executionPreview,
  });

export const payloadQuery = (id: string) =>
  queryOptions({
    queryKey: ["payload", id],
    queryFn: async ({ signal }) => (await ask(PayloadDocument, { id }, signal)).node,
    staleTime: Number.POSITIVE_INFINITY,
  });

export const jobsQuery = (filter: JobFilter, orderBy: JobOrder) =>
  infiniteQueryOptions({
    queryKey: ["jobs", "list", filter, orderBy],
    queryFn: ({ pageParam, signal }) => ask(JobsDocument, { first: PAGE, after: pageParam, filter, orderBy }, signal),
    initialPageParam: null as string | null,
    getNextPageParam: ({ jobs }) => (jobs.pageInfo.hasNextPage ? jobs.pageInfo.endCursor : undefined),
    placeholderData: (before) => before,
  });

export const countsQuery = (filter: JobFilter) =>
  queryOptions({
    queryKey: ["jobs", "counts", filter],
    queryFn: async ({ signal }) => (await ask(CountsDocument, { filter }, signal)).jobCounts,
    placeholderData: (before) => before,
  });

/** How often to look for what is stuck: four times in what counts as that, within reason. */
export const stuckMilliseconds = (seconds: number): number => Math.min(30_000, Math.max(2_000, seconds * 250));

export const stuckQuery = (seconds: number) =>
  queryOptions({
    queryKey: ["jobs", "stuck", seconds],
    queryFn: async ({ signal }) => (await ask(StuckDocument, { seconds }, signal)).jobs,
    refetchInterval: stuckMilliseconds(seconds),
  });

export const agentsQuery = infiniteQueryOptions({
  queryKey: ["agents"],
  queryFn: ({ pageParam, signal }) => ask(AgentsDocument, { after: pageParam }, signal),
  initialPageParam: null as string | null,
  getNextPageParam: ({ agents }) => (agents.pageInfo.hasNextPage ? agents.pageInfo.endCursor : undefined),
});

export const agentNamesQuery = queryOptions({
  queryKey: ["agents", "names"],
  queryFn: async ({ signal }) => (await ask(AgentNamesDocument, {}, signal)).agents.nodes,
});

export const agentChangesQuery = (id: string) =>
  queryOptions({
    queryKey: ["agents", "changes", id],
    queryFn: async ({ signal }) => (await ask(AgentChangesDocument, { id }, signal)).agent?.changes.nodes ?? [],
  });

export const agentRecordQuery = (agentId: string) =>
  queryOptions({
    queryKey: ["agents", "record", agentId],
    queryFn: async ({ signal }) => (await ask(AgentRecordDocument, { agentId }, signal)).jobs,
    refetchInterval: 30_000,
  });
