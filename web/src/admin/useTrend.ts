import { useQuery } from "@tanstack/react-query";
import { ask } from "../api/ask";
import { type CountFragment, TrendDocument, type TrendQuery, type TrendQueryVariables } from "../gql/graphql";
import { useNow } from "../ui/useNow";
import { type Span, spansUntil, type Unit } from "./spans";

export interface TrendPoint extends Span {
  counts: CountFragment[];
}

const MINUTE = 60_000;

/** How many jobs were created when. */
export function useTrend(unit: Unit): TrendPoint[] | undefined {
  const minute = Math.floor(useNow(MINUTE) / MINUTE) * MINUTE;
  const spans = spansUntil(minute, unit);
  const { data } = useQuery({
    queryKey: ["trend", unit, spans.at(-1)?.to.toISOString()],
    queryFn: async ({ signal }) => {
      const filters = spans.map(({ from, to }, index) => [
        `f${index}`,
        { createdAfter: from.toISOString(), createdBefore: to.toISOString() },
      ]);
      const counts = await ask(TrendDocument, Object.fromEntries(filters) as TrendQueryVariables, signal);
      return spans.map((span, index) => ({ ...span, counts: counts[`s${index}` as keyof TrendQuery] }));
    },
  });
  return data;
}
