import { NativeSelect } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { agentRecordQuery, previewQuery } from "../api/queries";
import type { AgentPartsFragment } from "../gql/graphql";
import { Preview } from "../job/Preview";
import { Dialog } from "../ui/Dialog";
import { Empty } from "../ui/Empty";

/** The exact request that an agent would get for one of its jobs. */
export function PreviewDialog({ agent, onClose }: { agent: AgentPartsFragment; onClose: () => void }) {
  const { data: jobs } = useQuery(agentRecordQuery(agent.id));
  const [chosen, setChosen] = useState<string | null>(null);
  const jobId = chosen ?? jobs?.nodes[0]?.id ?? null;
  return (
    <Dialog title={`What ${agent.name} would get`} size="xl" onClose={onClose}>
      {jobs?.nodes.length === 0 && <Empty title="No job is assigned to it yet">Assign one, then look again.</Empty>}
      {jobId && (
        <>
          <NativeSelect
            label="For the job"
            data-autofocus
            value={jobId}
            onChange={(event) => setChosen(event.currentTarget.value)}
            data={(jobs?.nodes ?? []).map(({ id, title }) => ({ value: id, label: title }))}
          />
          <JobPreview jobId={jobId} agentId={agent.id} />
        </>
      )}
    </Dialog>
  );
}

function JobPreview({ jobId, agentId }: { jobId: string; agentId: string }) {
  const preview = useQuery({ ...previewQuery(jobId, null, agentId), staleTime: 0 });
  return <Preview query={preview} />;
}
