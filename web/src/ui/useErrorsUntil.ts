import { useEffect, useRef } from "react";

interface Action {
  error: Error | null;
  reset: () => void;
}

/** Forget what went wrong with actions once `state`, which it was said of, has become another one. */
export function useErrorsUntil(state: string, actions: readonly Action[]): void {
  const failed = actions.some(({ error }) => error !== null);
  const saidOf = useRef<string | null>(null);
  useEffect(() => {
    if (!failed) saidOf.current = null;
    else if (saidOf.current === null) saidOf.current = state;
    else if (saidOf.current !== state) for (const { error, reset } of actions) if (error) reset();
  });
}
