import { useSearchParams } from "wouter";
import type { JobFilter, JobStatus } from "../gql/graphql";
import { STATUS_ORDER } from "../ui/words";

export interface JobFiltering {
  filter: JobFilter;
  isFiltered: boolean;
  toggleStatus: (status: JobStatus) => void;
  search: (words: string) => void;
  byAgent: (agentId: string) => void;
}

/** Which jobs are shown: in the address, so that a link shows what its sender saw. */
export function useJobFilter(): JobFiltering {
  const [params, setParams] = useSearchParams();
  const asked = new Set(params.get("status")?.split(",") ?? []);
  const statuses = STATUS_ORDER.filter((status) => asked.has(status.toLowerCase()));
  const words = params.get("search") ?? "";
  const agentId = params.get("agent") ?? "";
  const set = (name: string, value: string) =>
    setParams(
      (before) => {
        const next = new URLSearchParams(before);
        if (value) next.set(name, value);
        else next.delete(name);
        return next;
      },
      { replace: true },
    );
  return {
    filter: {
      ...(statuses.length > 0 ? { statuses } : {}),
      ...(words ? { search: words } : {}),
      ...(agentId ? { agentIds: [agentId] } : {}),
    },
    isFiltered: statuses.length > 0 || words !== "" || agentId !== "",
    toggleStatus: (status) => {
      const next = statuses.includes(status) ? statuses.filter((each) => each !== status) : [...statuses, status];
      set("status", next.join(",").toLowerCase());
    },
    search: (next) => set("search", next),
    byAgent: (next) => set("agent", next),
  };
}
