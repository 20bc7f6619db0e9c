import { Button } from "@mantine/core";
import { useState } from "react";
import { compactJson } from "../api/json";
import { JsonTree } from "../ui/JsonTree";
import classes from "./ShapeView.module.css";
import { isNumeric, isScalar, type Shape, scalarText } from "./shape";

export function ShapeView({ shape, label }: { shape: Shape; label: string }) {
  switch (shape.kind) {
    case "text":
      return <p className={classes.text}>{shape.text}</p>;
    case "list":
      return shape.items.length === 0 ? (
        <p className={classes.none}>None</p>
      ) : (
        <ul className={classes.list}>
          {shape.items.map((item, index) => (
            <li key={index}>{scalarText(item)}</li>
          ))}
        </ul>
      );
    case "table":
      return <TableView {...shape} label={label} />;
    case "record":
      return (
        <dl className={classes.record}>
          {shape.parts.map(({ name, shape: part }) => (
            <div key={name} className={part.kind === "text" ? classes.pair : classes.block}>
              <dt>{name}</dt>
              <dd>
                <ShapeView shape={part} label={name} />
              </dd>
            </div>
          ))}
        </dl>
      );
    case "json":
      return <JsonTree value={shape.value} label={label} />;
  }
}

/** As many rows as one looks at, and as a browser lays out at once. */
const FIRST_ROWS = 200;

function TableView({ columns, rows, label }: Extract<Shape, { kind: "table" }> & { label: string }) {
  const [shown, setShown] = useState(FIRST_ROWS);
  const numeric = new Set(columns.filter((column) => isNumeric(rows, column)));
  return (
    <div className={classes.scroll} role="region" aria-label={label} tabIndex={0}>
      <table className={classes.table}>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column} scope="col" data-numeric={numeric.has(column) || undefined}>
                {column}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, shown).map((row, index) => (
            <tr key={index}>
              {columns.map((column) => (
                <td key={column} data-numeric={numeric.has(column) || undefined}>
                  <Cell value={row[column]} />
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {rows.length > shown && (
        <Button size="compact-sm" variant="default" onClick={() => setShown(rows.length)}>
          Show all {rows.length} rows
        </Button>
      )}
    </div>
  );
}

function Cell({ value }: { value: unknown }) {
  if (value === undefined) return null;
  return isScalar(value) ? scalarText(value) : <code>{compactJson(value)}</code>;
}
