import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { previewQuery } from "../api/queries";
import type { JobPartsFragment } from "../gql/graphql";
import classes from "./DetailsCard.module.css";
import { Preview } from "./Preview";

/** What Execute would send, looked up only when somebody wants to know. */
export function RequestPreview({ job }: { job: JobPartsFragment }) {
  const [open, setOpen] = useState(false);
  const preview = useQuery({ ...previewQuery(job.id, job.revision, job.agent?.id ?? null), enabled: open });
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary className={classes.summary}>What Execute would send</summary>
      <Preview query={preview} />
    </details>
  );
}
