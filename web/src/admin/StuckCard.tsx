import { NativeSelect } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, useSearchParams } from "wouter";
import { stuckQuery } from "../api/queries";
import type { JobRowFragment } from "../gql/graphql";
import { STATES } from "../job/standing";
import { Card } from "../ui/Card";
import { between, counted, duration } from "../ui/format";
import { Trouble } from "../ui/Trouble";
import { useNow } from "../ui/useNow";
import classes from "./StuckCard.module.css";

const USUAL_SECONDS = 60;
const SECONDS = [10, 60, 300, 1_800, 7_200];

/** Jobs that have been in execution for longer than they should: what an operator looks for first. */
export function StuckCard() {
  const [params, setParams] = useSearchParams();
  const seconds = SECONDS.find((each) => String(each) === params.get("stuck")) ?? USUAL_SECONDS;
  const { data, error } = useQuery(stuckQuery(seconds));
  const setSeconds = (value: string) =>
    setParams((before) => new URLSearchParams({ ...Object.fromEntries(before), stuck: value }), { replace: true });
  return (
    <Card
      title="Stuck"
      note={data && (data.totalCount === 0 ? "Nothing is" : counted(data.totalCount, "job"))}
      actions={
        <NativeSelect
          size="xs"
          aria-label="Stuck means in execution for longer than"
          value={String(seconds)}
          onChange={(event) => setSeconds(event.currentTarget.value)}
          data={SECONDS.map((each) => ({ value: String(each), label: `Longer than ${duration(each * 1_000)}` }))}
        />
      }
      flush
    >
      <Trouble error={error} />
      <ul>
        {data?.nodes.map((job) => (
          <StuckRow key={job.id} job={job} />
        ))}
      </ul>
    </Card>
  );
}

function StuckRow({ job }: { job: JobRowFragment }) {
  const now = useNow(1_000);
  const { latestExecution } = job;
  return (
    <li className={classes.row}>
      <Link href={`/admin/jobs/${job.id}`}>{job.title}</Link>
      <span className={classes.facts}>
        {latestExecution && `${STATES[latestExecution.state]} for ${duration(between(latestExecution.queuedAt, now))}`}
        {job.agent && ` at ${job.agent.name}`}
        {job.notice && `. ${job.notice.message}`}
      </span>
    </li>
  );
}
