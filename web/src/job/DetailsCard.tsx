import type { ReactNode } from "react";
import { compactJson } from "../api/json";
import type { JobPartsFragment } from "../gql/graphql";
import { ShapeView } from "../result/ShapeView";
import { shapeOf } from "../result/shape";
import { Card } from "../ui/Card";
import { Moment } from "../ui/Moment";
import classes from "./DetailsCard.module.css";
import { RequestPreview } from "./RequestPreview";

/** What was asked for, of whom and by whom. */
export function DetailsCard({ job }: { job: JobPartsFragment }) {
  const isEmpty = compactJson(job.input) === "{}";
  return (
    <Card title="The job">
      <div className={classes.details}>
        {job.description && <p className={classes.description}>{job.description}</p>}
        <dl className={classes.facts}>
          <Fact name="Agent">
            {job.agent ? `${job.agent.name}${job.agent.enabled ? "" : " (disabled)"}` : "None yet"}
          </Fact>
          <Fact name="Owner">{job.owner.displayName}</Fact>
          <Fact name="Created">
            <Moment at={job.createdAt} />
          </Fact>
          <Fact name="Changed">
            <Moment at={job.updatedAt} />, revision {job.revision}
          </Fact>
        </dl>
        {!isEmpty && (
          <details>
            <summary className={classes.summary}>Input</summary>
            <div className={classes.input} role="region" aria-label="Input" tabIndex={0}>
              <ShapeView shape={shapeOf(job.input)} label="Input" />
            </div>
          </details>
        )}
        {job.availableActions.includes("EXECUTE") && <RequestPreview job={job} />}
        <p className={classes.id}>
          <code>{job.id}</code>
        </p>
      </div>
    </Card>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
