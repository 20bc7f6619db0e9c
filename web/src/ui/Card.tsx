import { type ReactNode, useId } from "react";
import classes from "./Card.module.css";

interface CardProps {
  title: string;
  /** What it is about, beside the title. */
  note?: ReactNode;
  actions?: ReactNode;
  /** Content that brings its own edges, such as a table. */
  flush?: boolean;
  children: ReactNode;
}

export function Card({ title, note, actions, flush = false, children }: CardProps) {
  const id = useId();
  return (
    <section className={classes.card} aria-labelledby={id}>
      <header className={classes.header}>
        <h2 id={id}>{title}</h2>
        {note && <span className={classes.note}>{note}</span>}
        {actions && <div className={classes.actions}>{actions}</div>}
      </header>
      <div className={flush ? undefined : classes.body}>{children}</div>
    </section>
  );
}
