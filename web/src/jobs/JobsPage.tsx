import { useInfiniteQuery } from "@tanstack/react-query";
import { useState } from "react";
import { jobsQuery } from "../api/queries";
import { useJobsFeed } from "../live/useJobsFeed";
import { useViewer } from "../session/useViewer";
import { Card } from "../ui/Card";
import { counted } from "../ui/format";
import { ListHeading } from "../ui/ListHeading";
import { JobFilters } from "./JobFilters";
import { JobList } from "./JobList";
import classes from "./JobsPage.module.css";
import { NewJobDialog } from "./NewJobDialog";
import { StatusToggles } from "./StatusToggles";
import { useJobFilter } from "./useJobFilter";

/** One's own jobs. */
export function JobsPage() {
  const viewer = useViewer();
  const { filter, isFiltered, toggleStatus, search } = useJobFilter();
  const own = viewer.role === "ADMIN" && viewer.id ? { ...filter, ownerIds: [viewer.id] } : filter;
  const jobs = useInfiniteQuery(jobsQuery(own, { field: "UPDATED_AT", direction: "DESC" }));
  const connection = useJobsFeed(jobs.data?.pages[0]?.feedCursor);
  const [creating, setCreating] = useState(false);
  const total = jobs.data?.pages[0]?.jobs.totalCount;
  return (
    <div className={classes.page}>
      <ListHeading title="Jobs" connection={connection} create="New job" onCreate={() => setCreating(true)} />
      <Card title="Your jobs" note={total === undefined ? undefined : counted(total, "job")} flush>
        <JobFilters filter={filter} search={search}>
          <StatusToggles pressed={filter.statuses ?? []} onToggle={toggleStatus} />
        </JobFilters>
        <JobList query={jobs} isFiltered={isFiltered} onNew={() => setCreating(true)} />
      </Card>
      {creating && <NewJobDialog onClose={() => setCreating(false)} />}
    </div>
  );
}
