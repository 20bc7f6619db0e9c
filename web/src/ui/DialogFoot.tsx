import { type ReactNode, useEffect, useRef } from "react";
import classes from "./DialogFoot.module.css";
import { focusOnRefused } from "./refusals";
import { Trouble } from "./Trouble";

/** What a dialog ends with: its buttons, and above them what went wrong. Both are in sight however long it is. */
export function DialogFoot({ error, children }: { error: Error | null; children: ReactNode }) {
  const foot = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const dialog = error && foot.current?.closest<HTMLElement>("[role=dialog]");
    // The button that was pressed has lost the focus: while it waited it was disabled.
    if (dialog && !focusOnRefused(dialog)) foot.current?.querySelector<HTMLElement>("[role=alert]")?.focus();
  }, [error]);
  return (
    <div ref={foot} className={classes.foot}>
      <Trouble error={error} />
      <div className={classes.buttons}>{children}</div>
    </div>
  );
}
