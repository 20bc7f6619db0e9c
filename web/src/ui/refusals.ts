import { type RefObject, useEffect, useRef } from "react";
import { RefusedError } from "../api/ask";

/** What was refused about one field, in the service's words; undefined: nothing. */
export function refusalAt(error: Error | null, ...field: string[]): string | undefined {
  if (!(error instanceof RefusedError)) return undefined;
  return error.refusals.find(({ path }) => field.every((name, index) => path?.[index] === name))?.message;
}

/** Take the focus to the first field that was refused. */
export function useFocusOnRefusal(error: Error | null): RefObject<HTMLFormElement | null> {
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => {
    const field = error && form.current?.querySelector<HTMLElement>("[aria-invalid=true]");
    field?.focus();
    // With what is said below it.
    field?.scrollIntoView({ block: "center" });
  }, [error]);
  return form;
}
