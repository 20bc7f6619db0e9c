import { NativeSelect } from "@mantine/core";
import { Card } from "../ui/Card";
import { clock, counted, day } from "../ui/format";
import { STATUS_ORDER, STATUSES } from "../ui/words";
import { SPANS, type Unit } from "./spans";
import classes from "./TrendChart.module.css";
import { type TrendPoint, useTrend } from "./useTrend";

const UNITS: { value: Unit; label: string }[] = [
  { value: "hours", label: "Twelve hours" },
  { value: "days", label: "Twelve days" },
  { value: "weeks", label: "Twelve weeks" },
];

const HEIGHT = 96;
/** Bars from edge to edge, the gaps between them only: a bar is seven parts wide, a gap three. */
const BAR = (100 * 7) / (SPANS * 7 + (SPANS - 1) * 3);
const STEP = (BAR * 10) / 7;
/** Which spans are named below: all of them would not fit on a phone. */
const NAMED = new Set([0, 6, SPANS - 1]);
/** A name at an edge does not hang over it. */
const ANCHORS: Record<number, { at: number; anchor: "start" | "end" }> = {
  0: { at: 0, anchor: "start" },
  [SPANS - 1]: { at: BAR, anchor: "end" },
};

/** How many jobs were created when, in the colours of what has become of them. */
export function TrendChart({ unit, onUnit }: { unit: Unit; onUnit: (unit: Unit) => void }) {
  const points = useTrend(unit);
  const totals = points?.map(totalOf) ?? [];
  const largest = Math.max(1, ...totals);
  return (
    <Card
      title="Created"
      note={
        points &&
        counted(
          totals.reduce((sum, total) => sum + total, 0),
          "job",
        )
      }
      actions={
        <NativeSelect
          size="xs"
          aria-label="Since when"
          value={unit}
          data={UNITS}
          onChange={(event) => onUnit(event.currentTarget.value as Unit)}
        />
      }
    >
      <svg className={classes.chart} role="img" aria-label={summary(points, unit)}>
        {points?.map((point, index) => (
          <g key={index}>
            <title>{`${labelOf(point, unit)}: ${totalOf(point)}`}</title>
            <rect
              className={classes.ground}
              x={`${index * STEP}%`}
              y={HEIGHT - 2}
              width={`${BAR}%`}
              height={2}
              rx={1}
            />
            {bars(point, largest).map(({ status, y, height }) => (
              <rect
                key={status}
                data-tone={STATUSES[status].tone}
                x={`${index * STEP}%`}
                y={y}
                width={`${BAR}%`}
                height={height}
                rx={2}
              />
            ))}
            {NAMED.has(index) && (
              <text
                y={HEIGHT + 18}
                x={`${index * STEP + (ANCHORS[index]?.at ?? BAR / 2)}%`}
                textAnchor={ANCHORS[index]?.anchor ?? "middle"}
              >
                {labelOf(point, unit)}
              </text>
            )}
          </g>
        ))}
      </svg>
    </Card>
  );
}

const totalOf = ({ counts }: TrendPoint) => counts.reduce((sum, { count }) => sum + count, 0);

const labelOf = ({ from }: TrendPoint, unit: Unit) =>
  unit === "hours" ? clock(from.toISOString()).slice(0, 5) : day(from);

function summary(points: TrendPoint[] | undefined, unit: Unit): string {
  if (!points) return "Loading";
  return `Jobs created: ${points.map((point) => `${labelOf(point, unit)} ${totalOf(point)}`).join(", ")}`;
}

function bars({ counts }: TrendPoint, largest: number) {
  let top = HEIGHT;
  return STATUS_ORDER.toReversed().flatMap((status) => {
    const count = counts.find((each) => each.status === status)?.count ?? 0;
    if (count === 0) return [];
    const height = (count / largest) * (HEIGHT - 4);
    top -= height;
    return [{ status, y: top, height: Math.max(1, height - 1) }];
  });
}
