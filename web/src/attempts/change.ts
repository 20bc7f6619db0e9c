import type { Verdict } from "../gql/graphql";

/** What became of a criterion from one judged attempt to the next; null: nothing new. */
export function changeOf(before: Verdict | undefined, now: Verdict | undefined): "Fixed" | "Got worse" | null {
  if (!before || !now || before === now) return null;
  if (now === "PASS") return "Fixed";
  return before === "PASS" ? "Got worse" : null;
}
