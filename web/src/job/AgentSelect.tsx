import { NativeSelect } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { agentNamesQuery } from "../api/queries";

interface AgentSelectProps {
  value: string;
  onChange: (agentId: string) => void;
  /** What choosing none is called; absent: one has to be chosen. */
  none?: string;
}

export function AgentSelect({ value, onChange, none }: AgentSelectProps) {
  const { data, error } = useQuery(agentNamesQuery);
  const enabled = data?.filter((agent) => agent.enabled) ?? [];
  return (
    <NativeSelect
      label="Agent"
      data-autofocus
      required={none === undefined}
      withAsterisk={false}
      value={value}
      onChange={(event) => onChange(event.currentTarget.value)}
      error={error?.message}
      data={[
        {
          value: "",
          label: none ?? (data?.length === 0 ? "There is no agent yet" : "Choose an agent"),
          disabled: none === undefined,
        },
        ...enabled.map(({ id, name }) => ({ value: id, label: name })),
      ]}
    />
  );
}
