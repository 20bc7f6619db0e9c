import { NativeSelect } from "@mantine/core";
import { Card } from "../shared/Card";
import { clock, day } from "../shared/format";
import { STATUS_ORDER, STATUSES } from "../shared/words";
import { SPANS, type Unit } from "./spans";
import classes from "./TrendChart.module.css";
import { type TrendPoint, useTrend } from "./useTrend";

const UNITS: { value: Unit; label: string }[] = [
  { value: "hours", label: "Twelve hours" },
  { value: "days", label: "Twelve days" },
  { value: "weeks", label: "Twelve weeks" },
];

// The picture's own measure: a bar and the space after it, and the height of the largest.
const [STEP, BAR, HEIGHT] = [40, 28, 96];

/** How many jobs were created when, in the colours of what has become of them. */
export function TrendChart({ unit, onUnit }: { unit: Unit; onUnit: (unit: Unit) => void }) {
  const points = useTrend(unit);
  const totals = points?.map(totalOf) ?? [];
  const largest = Math.max(1, ...totals);
  return (
    <Card
      title="Created"
      note={points && `${totals.reduce((sum, total) => sum + total, 0)} jobs`}
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
      <svg
        className={classes.chart}
        viewBox={`0 0 ${SPANS * STEP - (STEP - BAR)} ${HEIGHT + 18}`}
        role="img"
        aria-label={points ? `Jobs created: ${points.map((point) => `${labelOf(point, unit)} ${totalOf(point)}`).join(", ")}` : "Loading"}
      >
        {points?.map((point, index) => (
          <g key={index} transform={`translate(${index * STEP} 0)`}>
            <title>{`${labelOf(point, unit)}: ${totalOf(point)}`}</title>
            <rect className={classes.ground} y={HEIGHT - 2} width={BAR} height={2} rx={1} />
            {bars(point, largest).map(({ status, y, height }) => (
              <rect key={status} data-tone={STATUSES[status].tone} y={y} width={BAR} height={height} rx={2} />
            ))}
            {(index === 0 || index === 6 || index === SPANS - 1) && (
              <text y={HEIGHT + 14} x={BAR / 2}>
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

const labelOf = ({ from }: TrendPoint, unit: Unit) => (unit === "hours" ? clock(from.toISOString()).slice(0, 5) : day(from));

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
