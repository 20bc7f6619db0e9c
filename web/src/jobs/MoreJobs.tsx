import { Button } from "@mantine/core";
import type { InfiniteData, UseInfiniteQueryResult } from "@tanstack/react-query";
import type { JobsQuery } from "../gql/graphql";
import classes from "./MoreJobs.module.css";

export type Jobs = UseInfiniteQueryResult<InfiniteData<JobsQuery>>;

/** The next page of a list of jobs, at its end; nothing where there is none. */
export function MoreJobs({ query: { hasNextPage, isFetchingNextPage, fetchNextPage } }: { query: Jobs }) {
  if (!hasNextPage) return null;
  return (
    <div className={classes.more}>
      <Button variant="default" loading={isFetchingNextPage} onClick={() => void fetchNextPage()}>
        Show more
      </Button>
    </div>
  );
}
