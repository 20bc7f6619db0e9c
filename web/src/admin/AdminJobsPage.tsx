import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useSearchParams } from "wouter";
import { countsQuery, jobsQuery } from "../api/queries";
import { JobFilters } from "../jobs/JobFilters";
import classes from "../jobs/JobsPage.module.css";
import { NewJobDialog } from "../jobs/NewJobDialog";
import { useJobFilter } from "../jobs/useJobFilter";
import { useJobsFeed } from "../live/useJobsFeed";
import { Card } from "../ui/Card";
import { counted } from "../ui/format";
import { ListHeading } from "../ui/ListHeading";
import { AgentFilter } from "./AgentFilter";
import { JobTable } from "./JobTable";
import { StatusTiles } from "./StatusTiles";
import { StuckCard } from "./StuckCard";
import type { Unit } from "./spans";
import { TrendChart } from "./TrendChart";

/** Everybody's jobs: how many stand where, what is stuck, and all of them. */
export default function AdminJobsPage() {
  const [params, setParams] = useSearchParams();
  const { filter, isFiltered, toggleStatus, search, byAgent } = useJobFilter();
  const { statuses: _, ...othersThanStatus } = filter;
  const jobs = useInfiniteQuery(jobsQuery(filter, { field: "UPDATED_AT", direction: "DESC" }));
  const counts = useQuery(countsQuery(othersThanStatus));
  const connection = useJobsFeed(jobs.data?.pages[0]?.feedCursor);
  const [creating, setCreating] = useState(false);
  const total = jobs.data?.pages[0]?.jobs.totalCount;
  const setUnit = (unit: Unit) =>
    setParams((before) => new URLSearchParams({ ...Object.fromEntries(before), over: unit }), { replace: true });
  return (
    <div className={classes.page}>
      <ListHeading title="All jobs" connection={connection} create="New job" onCreate={() => setCreating(true)} />
      <StatusTiles counts={counts.data} pressed={filter.statuses ?? []} onToggle={toggleStatus} />
      <StuckCard />
      <Card title="Jobs" note={total === undefined ? undefined : counted(total, "job")} flush>
        <JobFilters filter={filter} search={search}>
          <AgentFilter agentId={filter.agentIds?.[0] ?? ""} onChange={byAgent} />
        </JobFilters>
        <JobTable query={jobs} isFiltered={isFiltered} />
      </Card>
      {creating && <NewJobDialog onClose={() => setCreating(false)} />}
      <TrendChart unit={unitOf(params.get("over"))} onUnit={setUnit} />
    </div>
  );
}

const unitOf = (asked: string | null): Unit => (asked === "hours" || asked === "weeks" ? asked : "days");
