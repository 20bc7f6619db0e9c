import { NativeSelect } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { agentNamesQuery } from "../api/queries";

export function AgentFilter({ agentId, onChange }: { agentId: string; onChange: (agentId: string) => void }) {
  const { data: agents } = useQuery(agentNamesQuery);
  return (
    <NativeSelect
      aria-label="Agent"
      value={agentId}
      onChange={(event) => onChange(event.currentTarget.value)}
      data={[
        { value: "", label: "Every agent" },
        ...(agents ?? []).map(({ id, name }) => ({ value: id, label: name })),
      ]}
    />
  );
}
