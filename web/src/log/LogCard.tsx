import { Button } from "@mantine/core";
import type { AttemptFragment } from "../gql/graphql";
import { Card } from "../ui/Card";
import { Empty } from "../ui/Empty";
import { counted } from "../ui/format";
import { Trouble } from "../ui/Trouble";
import type { Placed } from "./entries";
import { LogFilters } from "./LogFilters";
import { LogList } from "./LogList";
import { useLog } from "./useLog";
import { useLogFilter } from "./useLogFilter";

interface LogCardProps {
  jobId: string;
  /** What has come since the page was opened. */
  live: readonly Placed[];
  attempts: readonly AttemptFragment[];
}

/** Everything that happened to a job. */
export function LogCard({ jobId, live, attempts }: LogCardProps) {
  const { filter, order, change, isFiltered, clear } = useLogFilter();
  const log = useLog(jobId, live, filter, order);
  return (
    <Card
      title="Log"
      note={log.total === null ? undefined : counted(log.total, "entry", "entries")}
      actions={<LogFilters filter={filter} order={order} change={change} attempts={attempts} />}
      flush
    >
      <Trouble error={log.error} onRetry={log.retry} />
      {log.total === 0 && log.entries.length === 0 ? (
        <Empty title={isFiltered ? "No entry meets these filters" : "Nothing has happened yet"}>
          {isFiltered && (
            <Button variant="default" onClick={clear}>
              Show all
            </Button>
          )}
        </Empty>
      ) : (
        <LogList entries={log.entries} attempts={attempts} loadMore={log.loadMore} />
      )}
    </Card>
  );
}
