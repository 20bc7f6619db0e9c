import { TextInput } from "@mantine/core";
import { useDebouncedCallback } from "@mantine/hooks";
import { IconSearch } from "@tabler/icons-react";
import { type ReactNode, useState } from "react";
import type { JobFilter } from "../gql/graphql";
import classes from "./JobFilters.module.css";
import type { JobFiltering } from "./useJobFilter";

const PAUSE_MILLISECONDS = 250;

interface JobFiltersProps extends Pick<JobFiltering, "search"> {
  filter: JobFilter;
  /** What else narrows them down. */
  children: ReactNode;
}

export function JobFilters({ filter, search, children }: JobFiltersProps) {
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
      {children}
    </div>
  );
}
