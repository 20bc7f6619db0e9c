import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { agentChangesQuery } from "../api/queries";
import { Moment } from "../ui/Moment";
import { Trouble } from "../ui/Trouble";
import classes from "./AgentHistory.module.css";

/** Who registered an agent and changed it since; looked up only when somebody wants to know. */
export function AgentHistory({ agentId }: { agentId: string }) {
  const [open, setOpen] = useState(false);
  const { data, error } = useQuery({ ...agentChangesQuery(agentId), enabled: open });
  return (
    <details className={classes.history} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Who changed it</summary>
      <Trouble error={error} />
      <ul>
        {data?.map(({ timestamp, actor, fields }) => (
          <li key={timestamp}>
            <Moment at={timestamp} />, {actor.displayName}: {fields.join(", ")}
          </li>
        ))}
      </ul>
    </details>
  );
}
