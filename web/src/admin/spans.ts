/** Twelve spans of equal length, the last of them not over yet. */
export type Unit = "hours" | "days" | "weeks";

export interface Span {
  from: Date;
  to: Date;
}

export const SPANS = 12;

const HOUR = 3_600_000;
const LENGTHS: Record<Unit, number> = { hours: HOUR, days: 24 * HOUR, weeks: 7 * 24 * HOUR };

export function spansUntil(now: number, unit: Unit): Span[] {
  const length = LENGTHS[unit];
  const start = unit === "hours" ? new Date(now).setMinutes(0, 0, 0) : new Date(now).setHours(0, 0, 0, 0);
  const end = unit === "weeks" ? start + LENGTHS.days : start + length;
  return Array.from({ length: SPANS }, (_, index) => {
    const to = end - (SPANS - 1 - index) * length;
    return { from: new Date(to - length), to: new Date(to) };
  });
}
