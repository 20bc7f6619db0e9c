import { Button, NativeSelect } from "@mantine/core";
import type { AttemptFragment } from "../gql/graphql";
import type { Order } from "./entries";
import { KIND_NAMES, KINDS, type Kind, type LogFilter } from "./filter";
import classes from "./LogFilters.module.css";
import type { LogChange } from "./useLogFilter";

interface LogFiltersProps {
  filter: LogFilter;
  order: Order;
  change: (part: LogChange) => void;
  attempts: readonly AttemptFragment[];
}

export function LogFilters({ filter, order, change, attempts }: LogFiltersProps) {
  const toggle = (kind: Kind) => {
    const kinds = filter.kinds.includes(kind) ? filter.kinds.filter((each) => each !== kind) : [...filter.kinds, kind];
    change({ log: kinds.join(",") || null });
  };
  return (
    <div className={classes.filters} role="group" aria-label="Filter the log">
      {KIND_NAMES.map((kind) => (
        <Toggle key={kind} name={KINDS[kind].name} pressed={filter.kinds.includes(kind)} onClick={() => toggle(kind)} />
      ))}
      <Toggle
        name="Problems only"
        pressed={filter.problemsOnly}
        onClick={() => change({ problems: filter.problemsOnly ? null : "" })}
      />
      {attempts.length > 1 && (
        <NativeSelect
          size="xs"
          aria-label="Attempt"
          value={filter.executionId ?? ""}
          onChange={(event) => change({ attempt: event.currentTarget.value || null })}
          data={[
            { value: "", label: "All attempts" },
            ...attempts.toReversed().map(({ id, number }) => ({ value: id, label: `Attempt ${number}` })),
          ]}
        />
      )}
      <NativeSelect
        size="xs"
        aria-label="Order"
        value={order}
        onChange={(event) => change({ order: event.currentTarget.value === "oldest" ? "oldest" : null })}
        data={[
          { value: "newest", label: "Newest first" },
          { value: "oldest", label: "Oldest first" },
        ]}
      />
    </div>
  );
}

function Toggle({ name, pressed, onClick }: { name: string; pressed: boolean; onClick: () => void }) {
  return (
    <Button size="compact-sm" variant={pressed ? "light" : "default"} aria-pressed={pressed} onClick={onClick}>
      {name}
    </Button>
  );
}
