import { useSearchParams } from "wouter";
import type { Order } from "./entries";
import { filterOf, type LogFilter } from "./filter";

export interface LogChange {
  log?: string | null;
  problems?: string | null;
  attempt?: string | null;
  order?: string | null;
}

interface Filtering {
  filter: LogFilter;
  order: Order;
  change: (part: LogChange) => void;
  isFiltered: boolean;
  clear: () => void;
}

export function useLogFilter(): Filtering {
  const [search, setSearch] = useSearchParams();
  const filter = filterOf(search);
  const change = (part: LogChange) =>
    setSearch(
      (before) => {
        const next = new URLSearchParams(before);
        for (const [name, value] of Object.entries(part)) {
          if (value === null) next.delete(name);
          else next.set(name, value);
        }
        return next;
      },
      { replace: true },
    );
  return {
    filter,
    order: search.get("order") === "oldest" ? "oldest" : "newest",
    change,
    isFiltered: filter.kinds.length > 0 || filter.problemsOnly || filter.executionId !== null,
    clear: () => change({ log: null, problems: null, attempt: null }),
  };
}
