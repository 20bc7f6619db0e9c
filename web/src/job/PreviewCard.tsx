import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { previewQuery } from "../api/queries";
import type { JobPartsFragment } from "../gql/graphql";
import { Card } from "../shared/Card";
import { Preview } from "./Preview";
import classes from "./DetailsCard.module.css";

/** What Execute would send, looked up only when somebody wants to know. */
export function PreviewCard({ job }: { job: JobPartsFragment }) {
  const [open, setOpen] = useState(false);
  const preview = useQuery({ ...previewQuery(job.id, job.revision, job.agent?.id ?? null), enabled: open });
  return (
    <Card title="Before it is sent">
      <details onToggle={(event) => setOpen(event.currentTarget.open)}>
        <summary className={classes.summary}>What Execute would send</summary>
        <Preview query={preview} />
      </details>
    </Card>
  );
}
