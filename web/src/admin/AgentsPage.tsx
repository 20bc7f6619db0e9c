import { Button, Skeleton } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useState } from "react";
import { agentsQuery } from "../api/queries";
import type { AgentPartsFragment } from "../gql/graphql";
import classes from "../jobs/JobsPage.module.css";
import { Empty } from "../ui/Empty";
import { ListHeading } from "../ui/ListHeading";
import { Trouble } from "../ui/Trouble";
import { AgentCard } from "./AgentCard";
import { AgentDialog } from "./AgentDialog";
import { DisableDialog } from "./DisableDialog";
import { PreviewDialog } from "./PreviewDialog";

type Opened = { kind: "new" } | { kind: "edit" | "disable" | "preview"; agent: AgentPartsFragment };

/** Who can do jobs, and how they are called. */
export default function AgentsPage() {
  const { data, error, isPending, hasNextPage, isFetchingNextPage, fetchNextPage, refetch } =
    useInfiniteQuery(agentsQuery);
  const [opened, setOpened] = useState<Opened | null>(null);
  const agents = data?.pages.flatMap((page) => page.agents.nodes) ?? [];
  const { executors = [], validators = [] } = data?.pages[0] ?? {};
  const close = () => setOpened(null);
  return (
    <div className={classes.page}>
      <ListHeading title="Agents" create="Register an agent" onCreate={() => setOpened({ kind: "new" })} />
      <Trouble error={error} onRetry={() => void refetch()} />
      {isPending && <Skeleton height={320} />}
      {data && agents.length === 0 && (
        <Empty title="There is no agent yet">Register one, and jobs can be assigned to it.</Empty>
      )}
      {agents.map((agent) => (
        <AgentCard key={agent.id} agent={agent} open={(kind) => setOpened({ kind, agent })} />
      ))}
      {hasNextPage && (
        <Button variant="default" loading={isFetchingNextPage} onClick={() => void fetchNextPage()}>
          Show more
        </Button>
      )}
      {opened?.kind === "new" && (
        <AgentDialog agent={null} executors={executors} validators={validators} onClose={close} />
      )}
      {opened?.kind === "edit" && (
        <AgentDialog agent={opened.agent} executors={executors} validators={validators} onClose={close} />
      )}
      {opened?.kind === "disable" && <DisableDialog agent={opened.agent} onClose={close} />}
      {opened?.kind === "preview" && <PreviewDialog agent={opened.agent} onClose={close} />}
    </div>
  );
}
