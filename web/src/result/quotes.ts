import type { VerdictsFragment } from "../gql/graphql";

export interface Quote {
  /** Where it is in the answer as it is shown. */
  id: string;
  criterionId: string;
  text: string;
}

/** What the answer is quoted with, each quote with an address of its own on the page. */
export function quotesOf(results: readonly VerdictsFragment[]): Quote[] {
  return results
    .flatMap(({ criterion, evidence }) => evidence.map((text) => ({ criterionId: criterion.id, text })))
    .map((quote, index) => ({ ...quote, id: `quote-${index}` }));
}
