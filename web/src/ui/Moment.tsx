import { ago, fully } from "./format";
import { useNow } from "./useNow";

/** How long ago something was; its title says when exactly. */
export function Moment({ at }: { at: string }) {
  const now = useNow(20_000);
  return (
    <time dateTime={at} title={fully(at)}>
      {ago(at, now)}
    </time>
  );
}
