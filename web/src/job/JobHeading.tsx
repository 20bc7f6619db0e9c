import { Link } from "wouter";
import type { JobPartsFragment } from "../gql/graphql";
import type { Connection } from "../live/follow";
import { useViewer } from "../session/useViewer";
import { LiveDot } from "../ui/LiveDot";
import { usePage } from "../ui/usePage";
import classes from "./JobHeading.module.css";

interface JobHeadingProps {
  job: JobPartsFragment;
  connection: Connection;
  overrides: boolean;
}

export function JobHeading({ job, connection, overrides }: JobHeadingProps) {
  const heading = usePage(job.title);
  const admin = useViewer().role === "ADMIN";
  return (
    <div className={classes.heading}>
      <div className={classes.line}>
        <Link href={admin ? "/admin/jobs" : "/jobs"}>Jobs</Link>
        <LiveDot connection={connection} />
        {admin && (
          <Link href={overrides ? `/jobs/${job.id}` : `/admin/jobs/${job.id}`} className={classes.other}>
            {overrides ? "As its owner sees it" : "With overrides"}
          </Link>
        )}
      </div>
      <h1 ref={heading} tabIndex={-1}>
        {job.title}
      </h1>
    </div>
  );
}
