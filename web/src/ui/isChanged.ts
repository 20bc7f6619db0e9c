/** Whether a form says something else than it did. */
export const isChanged = <Draft extends object>(draft: Draft, before: Draft): boolean =>
  JSON.stringify(draft) !== JSON.stringify(before);
