import { type RefObject, useEffect, useRef } from "react";

let pages = 0;

/**
 * Name the page, and move the focus to its heading when it replaces another one: a screen reader then says where one
 * has got to, and the keyboard goes on from there.
 */
export function usePage(title: string | undefined): RefObject<HTMLHeadingElement | null> {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = title ? `${title} · Signoff` : "Signoff";
  }, [title]);
  useEffect(() => {
    pages += 1;
    if (pages > 1) heading.current?.focus({ preventScroll: true });
  }, []);
  return heading;
}
