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
