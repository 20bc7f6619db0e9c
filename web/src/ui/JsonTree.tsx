import { collapseAllNested, JsonView } from "react-json-view-lite";
import { isScalar } from "../result/shape";
import classes from "./JsonTree.module.css";

const STYLES = {
  container: classes.tree ?? "",
  childFieldsContainer: classes.children ?? "",
  basicChildStyle: classes.row ?? "",
  label: classes.label ?? "",
  clickableLabel: classes.label ?? "",
  nullValue: classes.quiet ?? "",
  undefinedValue: classes.quiet ?? "",
  stringValue: classes.text ?? "",
  booleanValue: classes.number ?? "",
  numberValue: classes.number ?? "",
  otherValue: classes.quiet ?? "",
  punctuation: classes.quiet ?? "",
  collapseIcon: classes.collapse ?? "",
  expandIcon: classes.expand ?? "",
  collapsedContent: classes.collapsed ?? "",
  quotesForFieldNames: false,
  stringifyStringValues: true,
};

const LARGE = 20_000;

/** JSON to look through; a large one begins folded. */
export function JsonTree({ value, label }: { value: unknown; label: string }) {
  if (isScalar(value)) return <code>{JSON.stringify(value)}</code>;
  const large = JSON.stringify(value).length > LARGE;
  return (
    <JsonView
      data={value as object}
      style={STYLES}
      aria-label={label}
      {...(large ? { shouldExpandNode: collapseAllNested } : {})}
    />
  );
}
