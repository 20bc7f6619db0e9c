/** Call at once, then at most once in each interval, and once more at its end for what came meanwhile. */
export function throttle(call: () => void, milliseconds: number): { (): void; cancel(): void } {
  let waiting: ReturnType<typeof setTimeout> | undefined;
  let again = false;
  const throttled = () => {
    if (waiting !== undefined) {
      again = true;
      return;
    }
    call();
    waiting = setTimeout(() => {
      waiting = undefined;
      if (again) {
        again = false;
        throttled();
      }
    }, milliseconds);
  };
  throttled.cancel = () => {
    clearTimeout(waiting);
    waiting = undefined;
    again = false;
  };
  return throttled;
}
