import { RefusedError } from "../api/ask";

/** What was refused about one field, in the service's words; undefined: nothing. */
export function refusalAt(error: Error | null, ...field: string[]): string | undefined {
  if (!(error instanceof RefusedError)) return undefined;
  return error.refusals.find(({ path }) => field.every((name, index) => path?.[index] === name))?.message;
}

/** Take the focus to the first field that is wrong, if one is; returns whether. */
export function focusOnRefused(form: HTMLElement): boolean {
  const field = form.querySelector<HTMLElement>("[aria-invalid=true]");
  field?.focus();
  // With what is said below it.
  field?.scrollIntoView({ block: "center" });
  return field !== null;
}
