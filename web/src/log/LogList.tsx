import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import type { AttemptFragment, EntryFragment } from "../gql/graphql";
import { AttemptRow } from "./AttemptRow";
import { EntryRow } from "./EntryRow";
import { grouped } from "./entries";
import classes from "./LogList.module.css";

interface LogListProps {
  entries: readonly EntryFragment[];
  attempts: readonly AttemptFragment[];
  loadMore: (() => void) | null;
}

const ROW_HEIGHT = 45;
const OVERSCAN = 12;
/** A log that is no longer than this is on the page as a whole, where the browser can search it. */
const SHORT = 150;
/** How near to the end more is asked for. */
const NEAR = 30;

/** However many entries there are, only those in sight are on the page. */
export function LogList({ entries, attempts, loadMore }: LogListProps) {
  const list = useRef<HTMLOListElement>(null);
  const rows = useMemo(() => grouped(entries), [entries]);
  const [open, setOpen] = useState<ReadonlySet<string>>(new Set());
  const offset = useOffset(list);
  const virtual = useWindowVirtualizer({
    count: rows.length,
    estimateSize: () => ROW_HEIGHT,
    getItemKey: (index) => rows[index]?.key ?? index,
    overscan: rows.length <= SHORT ? SHORT : OVERSCAN,
    scrollMargin: offset,
  });
  const items = virtual.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (last >= rows.length - NEAR) loadMore?.();
  }, [last, rows.length, loadMore]);
  const toggle = (id: string) =>
    setOpen((before) => {
      const next = new Set(before);
      if (!next.delete(id)) next.add(id);
      return next;
    });
  return (
    <ol ref={list} className={classes.list} style={{ height: virtual.getTotalSize() }} aria-label="Log entries">
      {items.map(({ key, index, start }) => {
        const row = rows[index];
        return (
          row && (
            <li
              key={key}
              ref={virtual.measureElement}
              data-index={index}
              className={classes.item}
              style={{ transform: `translateY(${start - offset}px)` }}
              aria-setsize={rows.length}
              aria-posinset={index + 1}
            >
              {row.kind === "attempt" ? (
                <AttemptRow
                  number={row.number}
                  outcome={attempts.find(({ id }) => id === row.executionId)?.outcome ?? row.outcome}
                />
              ) : (
                <EntryRow entry={row.entry} open={open.has(row.key)} onToggle={() => toggle(row.key)} />
              )}
            </li>
          )
        );
      })}
    </ol>
  );
}

/** Where the list begins on the page: what stands above it grows and shrinks. */
function useOffset(list: React.RefObject<HTMLElement | null>): number {
  const [offset, setOffset] = useState(0);
  useLayoutEffect(() => {
    const measure = () => {
      if (list.current) setOffset(Math.round(list.current.getBoundingClientRect().top + window.scrollY));
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(document.body);
    return () => observer.disconnect();
  }, [list]);
  return offset;
}
