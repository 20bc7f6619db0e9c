import { Button, TextInput } from "@mantine/core";
import { useDebouncedCallback } from "@mantine/hooks";
import { IconSearch } from "@tabler/icons-react";
import { useState } from "react";
import type { JobFilter } from "../gql/graphql";
import { STATUS_ORDER, STATUSES } from "../shared/words";
import classes from "./JobFilters.module.css";
import type { JobFiltering } from "./useJobFilter";

const PAUSE_MILLISECONDS = 250;

type JobFiltersProps = { filter: JobFilter } & Pick<JobFiltering, "toggleStatus" | "search">;

export function JobFilters({ filter, toggleStatus, search }: JobFiltersProps) {
  const [words, setWords] = useState(filter.search ?? "");
  const searchSoon = useDebouncedCallback(search, PAUSE_MILLISECONDS);
  return (
    <div className={classes.filters} role="search" aria-label="Jobs">
      <TextInput
        type="search"
        aria-label="Search in titles and descriptions"
        placeholder="Search"
        className={classes.search ?? ""}
        leftSection={<IconSearch size={16} aria-hidden />}
        value={words}
        onChange={(event) => {
          setWords(event.currentTarget.value);
          searchSoon(event.currentTarget.value);
        }}
      />
      <div className={classes.statuses} role="group" aria-label="Status">
        {STATUS_ORDER.map((status) => {
          const pressed = filter.statuses?.includes(status) ?? false;
          return (
            <Button
              key={status}
              size="compact-sm"
              variant={pressed ? "light" : "default"}
              aria-pressed={pressed}
              onClick={() => toggleStatus(status)}
            >
              {STATUSES[status].name}
            </Button>
          );
        })}
      </div>
    </div>
  );
}
