import { Button, Skeleton } from "@mantine/core";
import { IconPlayerPlayFilled } from "@tabler/icons-react";
import { useRef } from "react";
import { Link } from "wouter";
import type { JobRowFragment } from "../gql/graphql";
import { stateOf } from "../job/standing";
import { pressOf, useExecute } from "../job/useJobAction";
import { type Jobs, MoreJobs } from "../jobs/MoreJobs";
import { Badge, StatusBadge } from "../ui/Badge";
import { Empty } from "../ui/Empty";
import { Moment } from "../ui/Moment";
import { Trouble } from "../ui/Trouble";
import { useErrorsUntil } from "../ui/useErrorsUntil";
import { OUTCOMES } from "../ui/words";
import classes from "./JobTable.module.css";

interface JobTableProps {
  query: Jobs;
  isFiltered: boolean;
}

export function JobTable({ query, isFiltered }: JobTableProps) {
  const { data, error, isPending, refetch } = query;
  if (isPending) return <Skeleton height={320} />;
  const rows = data?.pages.flatMap(({ jobs }) => jobs.nodes) ?? [];
  return (
    <>
      <Trouble error={error} onRetry={() => void refetch()} />
      {data && rows.length === 0 ? (
        <Empty title={isFiltered ? "No job meets these filters" : "There are no jobs yet"} />
      ) : (
        <table className={classes.table}>
          <thead>
            <tr>
              <th scope="col">Job</th>
              <th scope="col">Status</th>
              <th scope="col">Last attempt</th>
              <th scope="col">Owner</th>
              <th scope="col">Changed</th>
              <th scope="col">
                <span className={classes.hidden}>Actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map((job) => (
              <Row key={job.id} job={job} />
            ))}
          </tbody>
        </table>
      )}
      <MoreJobs query={query} />
    </>
  );
}

function Row({ job }: { job: JobRowFragment }) {
  const row = useRef<HTMLTableRowElement>(null);
  const execute = useExecute(job.id);
  useErrorsUntil(stateOf(job), [execute]);
  const { latestExecution } = job;
  return (
    <>
      <tr ref={row} tabIndex={-1}>
        <td className={classes.title}>
          <Link href={`/admin/jobs/${job.id}`}>{job.title}</Link>
          <span className={classes.agent}>{job.agent?.name ?? "No agent yet"}</span>
        </td>
        <td>
          <StatusBadge status={job.status} />
        </td>
        <td className={classes.attempt}>
          {latestExecution?.outcome && (
            <>
              <span className={classes.number}>{latestExecution.number}</span>{" "}
              <Badge {...OUTCOMES[latestExecution.outcome]} />
            </>
          )}
        </td>
        <td>{job.owner.displayName}</td>
        <td className={classes.when}>
          <Moment at={job.updatedAt} />
        </td>
        <td className={classes.action}>
          {job.availableActions.includes("EXECUTE") && (
            <Button
              size="compact-sm"
              variant="default"
              aria-label={`Execute ${job.title}`}
              leftSection={<IconPlayerPlayFilled size={12} aria-hidden />}
              loading={execute.isPending}
              onClick={() => {
                execute.mutate(pressOf(job));
                // The button will be gone.
                row.current?.focus({ preventScroll: true });
              }}
            >
              Execute
            </Button>
          )}
        </td>
      </tr>
      {execute.error && (
        <tr>
          <td colSpan={6}>
            <Trouble error={execute.error} />
          </td>
        </tr>
      )}
    </>
  );
}
