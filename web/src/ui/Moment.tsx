import { useSyncExternalStore } from "react";
import { eachSecond } from "./eachSecond";
import { ago, fully } from "./format";

/** How long ago something was; its title says when exactly. */
export function Moment({ at }: { at: string }) {
  // Drawn anew when the words become others: each second at first, then ever less often.
  const words = useSyncExternalStore(eachSecond, () => ago(at, Date.now()));
  return (
    <time dateTime={at} title={fully(at)}>
      {words}
    </time>
  );
}
