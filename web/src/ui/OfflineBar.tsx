import { onlineManager } from "@tanstack/react-query";
import { useSyncExternalStore } from "react";
import classes from "./OfflineBar.module.css";

export function OfflineBar() {
  const online = useSyncExternalStore(
    (changed) => onlineManager.subscribe(changed),
    () => onlineManager.isOnline(),
  );
  return (
    <div role="status" className={classes.status}>
      {!online && (
        <p className={classes.bar}>
          You are offline. What you see is as it was; the page goes on by itself once you are back.
        </p>
      )}
    </div>
  );
}
