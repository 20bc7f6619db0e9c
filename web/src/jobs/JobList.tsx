import { Button, Skeleton } from "@mantine/core";
import { Link } from "wouter";
import type { JobRowFragment } from "../gql/graphql";
import { StatusBadge } from "../ui/Badge";
import { Empty } from "../ui/Empty";
import { Moment } from "../ui/Moment";
import { Trouble } from "../ui/Trouble";
import classes from "./JobList.module.css";
import { type Jobs, MoreJobs } from "./MoreJobs";

interface JobListProps {
  query: Jobs;
  isFiltered: boolean;
  onNew: () => void;
}

export function JobList({ query, isFiltered, onNew }: JobListProps) {
  const { data, error, isPending, refetch } = query;
  if (isPending) return <Rows />;
  const rows = data?.pages.flatMap(({ jobs }) => jobs.nodes) ?? [];
  return (
    <>
      <Trouble error={error} onRetry={() => void refetch()} />
      {data && rows.length === 0 && (
        <Empty title={isFiltered ? "No job meets these filters" : "You have no jobs yet"}>
          {!isFiltered && <Button onClick={onNew}>Create the first one</Button>}
        </Empty>
      )}
      <ul>
        {rows.map((job) => (
          <li key={job.id} className={classes.row}>
            <JobLine job={job} />
          </li>
        ))}
      </ul>
      <MoreJobs query={query} />
    </>
  );
}

function JobLine({ job }: { job: JobRowFragment }) {
  return (
    <Link href={`/jobs/${job.id}`} className={classes.link}>
      <span className={classes.words}>
        <span className={classes.title}>{job.title}</span>
        <span className={classes.facts}>{job.notice?.message ?? (job.agent ? job.agent.name : "No agent yet")}</span>
      </span>
      <StatusBadge status={job.status} />
      <span className={classes.when}>
        <Moment at={job.updatedAt} />
      </span>
    </Link>
  );
}

function Rows() {
  return (
    <ul aria-busy="true" aria-label="Loading">
      {["a", "b", "c", "d"].map((key) => (
        <li key={key} className={classes.row}>
          <div className={classes.link}>
            <Skeleton height={44} />
          </div>
        </li>
      ))}
    </ul>
  );
}
