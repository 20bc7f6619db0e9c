import { useMemo } from "react";
import { highlight, printed } from "./evidence";
import classes from "./QuotedAnswer.module.css";
import type { Quote } from "./quotes";

/** The answer with all that was quoted from it marked. */
export function QuotedAnswer({ value, quotes }: { value: unknown; quotes: Quote[] }) {
  // A large answer is not cut anew with each event of the page.
  const pieces = useMemo(
    () =>
      highlight(
        printed(value),
        quotes.map(({ text }) => text),
      ),
    [value, quotes],
  );
  const first = new Set<number>();
  return (
    <pre className={classes.answer} role="region" tabIndex={0} aria-label="The answer, with the evidence marked">
      {pieces.map(({ text, quote }, index) => {
        if (quote === null) return text;
        const id = first.has(quote) ? undefined : quotes[quote]?.id;
        first.add(quote);
        return (
          <mark key={index} id={id}>
            {text}
          </mark>
        );
      })}
    </pre>
  );
}
