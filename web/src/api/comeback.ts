import { ViewerDocument } from "../gql/graphql";
import { ask, UnreachableError } from "./ask";

export const AWAY_MILLISECONDS = 3_000;

/** Whether the service answers, whatever it says. */
export const isThere = (): Promise<boolean> =>
  ask(ViewerDocument, {}).then(
    () => true,
    (error) => !(error instanceof UnreachableError),
  );

/**
 * Waiting until a service that was away answers again. Asked to wait while it waits already, it goes on as it was: one
 * question at a time, however much could not be read.
 */
export function waitingFor(isThere: () => Promise<boolean>, back: () => void, milliseconds: number): () => void {
  let waiting = false;
  const ask = async () => {
    if (!(await isThere())) {
      setTimeout(ask, milliseconds);
      return;
    }
    waiting = false;
    back();
  };
  return () => {
    if (waiting) return;
    waiting = true;
    setTimeout(ask, milliseconds);
  };
}
