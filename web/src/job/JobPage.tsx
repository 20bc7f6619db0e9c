import { Skeleton } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { attemptsQuery, jobQuery } from "../api/queries";
import { AttemptsCard } from "../attempts/AttemptsCard";
import { useJobFeed } from "../live/useJobFeed";
import { LogCard } from "../log/LogCard";
import { AnswerCard, type Mode } from "../result/AnswerCard";
import { NotFoundPage } from "../ui/NotFoundPage";
import { Trouble } from "../ui/Trouble";
import { AssignDialog } from "./AssignDialog";
import { CriteriaCard } from "./CriteriaCard";
import { DetailsCard } from "./DetailsCard";
import { EditDialog } from "./EditDialog";
import { JobHeading } from "./JobHeading";
import classes from "./JobPage.module.css";
import { OverridesCard } from "./OverridesCard";
import { StatusCard } from "./StatusCard";

interface JobPageProps {
  id: string;
  /** The admins' page of it. */
  overrides?: boolean;
}

export type OpenDialog = "edit" | "assign";

/** One job: where it stands, why, and what to press. */
export function JobPage({ id, overrides = false }: JobPageProps) {
  const { data, error, refetch } = useQuery(jobQuery(id));
  const { data: attempts } = useQuery(attemptsQuery(id));
  const { events, connection } = useJobFeed(id, data?.job ? data.feedCursor : undefined);
  const [mode, setMode] = useState<Mode | null>(null);
  const [dialog, setDialog] = useState<OpenDialog | null>(null);
  if (!data) return error ? <Trouble error={error} onRetry={() => void refetch()} /> : <Waiting />;
  const { job } = data;
  if (!job) return <NotFoundPage />;
  const judged = attempts?.nodes.findLast(({ validation }) => validation) ?? null;
  const answered = attempts?.nodes.findLast(({ answer }) => answer !== null) ?? null;
  const completed = job.status === "COMPLETED";
  const answer = <AnswerCard job={job} attempt={answered} chosen={mode} onChoose={setMode} />;
  const close = () => setDialog(null);
  return (
    <div className={classes.page}>
      <JobHeading job={job} connection={connection} overrides={overrides} />
      <StatusCard job={job} open={setDialog} />
      <div className={classes.columns}>
        <div className={classes.column}>
          {completed && answer}
          <CriteriaCard
            job={job}
            attempt={judged}
            onQuote={judged?.id === answered?.id ? () => setMode("quotes") : null}
          />
          {!completed && answer}
          {attempts && attempts.totalCount > 0 && (
            <AttemptsCard attempts={attempts.nodes} total={attempts.totalCount} />
          )}
        </div>
        <div className={classes.column}>
          <DetailsCard job={job} />
        </div>
      </div>
      {overrides && <OverridesCard job={job} />}
      <LogCard jobId={id} live={events} attempts={attempts?.nodes ?? []} />
      {dialog === "edit" && <EditDialog job={job} onClose={close} />}
      {dialog === "assign" && <AssignDialog job={job} onClose={close} />}
    </div>
  );
}

function Waiting() {
  return (
    <div className={classes.page} aria-busy="true">
      <Skeleton height={64} width="60%" />
      <Skeleton height={150} />
      <div className={classes.columns}>
        <Skeleton height={320} />
        <Skeleton height={320} />
      </div>
    </div>
  );
}
