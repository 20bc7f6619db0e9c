import { MutationCache, QueryCache, QueryClient } from "@tanstack/react-query";
import { isSignedOut, UnreachableError } from "./api/ask";
import { AWAY_MILLISECONDS, isThere, waitingFor } from "./api/comeback";
import { viewerQuery } from "./api/queries";

const TRIES = 2;

/** Whoever is no longer signed in is sent to sign in, wherever that turns out. */
export const signedOut = () => void queries.setQueryData(viewerQuery.queryKey, null);

const isAway = (error: Error | null) => error instanceof UnreachableError;

/** What could not be read is read once the service is back: a page that has nothing yet follows nothing either. */
const readOnceBack = waitingFor(
  isThere,
  () => void queries.refetchQueries({ type: "active", predicate: ({ state }) => isAway(state.error) }),
  AWAY_MILLISECONDS,
);

const onError = (error: Error) => {
  if (isSignedOut(error)) signedOut();
};

export const queries = new QueryClient({
  queryCache: new QueryCache({
    onError: (error) => {
      onError(error);
      if (isAway(error)) readOnceBack();
    },
  }),
  mutationCache: new MutationCache({ onError }),
  defaultOptions: {
    // Only a lost answer is worth asking again for: an error stays one.
    queries: { retry: (failures, error) => isAway(error) && failures < TRIES, staleTime: 2_000 },
    // Offline, an action fails at once and says so; it is not kept to surprise somebody later.
    mutations: { networkMode: "always" },
  },
});
