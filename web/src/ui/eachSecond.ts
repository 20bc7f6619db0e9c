const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

/** Call back each second until the returned function is called: one timer for all who listen, none for nobody. */
export function eachSecond(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    for (const each of [...listeners]) each();
  }, 1_000);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}
