import { expect, test } from "vitest";
import { readJson } from "../api/json";
import { asText, isNumeric, scalarText, shapeOf } from "./shape";

test("text stays text, and other scalars become it", () => {
  expect(shapeOf("two\nlines")).toEqual({ kind: "text", text: "two\nlines" });
  expect(shapeOf(7.5)).toEqual({ kind: "text", text: "7.5" });
  expect(shapeOf(null)).toEqual({ kind: "text", text: "–" });
});

test("a list of flat objects is a table of every column in the order of appearance", () => {
  const rows = [
    { name: "Ana", total: 1 },
    { name: "Tom", phone: "020" },
  ];
  expect(shapeOf(rows)).toEqual({ kind: "table", columns: ["name", "total", "phone"], rows });
});

test("a cell may hold more, as long as one column is legible", () => {
  expect(shapeOf([{ name: "a", outliers: [{ row: 1 }] }])).toMatchObject({ kind: "table" });
  expect(shapeOf([{ outliers: [{ row: 1 }] }])).toMatchObject({ kind: "json" });
});

test("a mixed list is JSON, a plain one a list", () => {
  expect(shapeOf([1, { a: 1 }])).toMatchObject({ kind: "json" });
  expect(shapeOf(["a", 1, null])).toEqual({ kind: "list", items: ["a", 1, null] });
  expect(shapeOf([])).toEqual({ kind: "list", items: [] });
});

test("an object is shown part by part, but not for ever", () => {
  expect(shapeOf({ contacts: [{ name: "Ana" }], note: "x" })).toEqual({
    kind: "record",
    parts: [
      { name: "contacts", shape: { kind: "table", columns: ["name"], rows: [{ name: "Ana" }] } },
      { name: "note", shape: { kind: "text", text: "x" } },
    ],
  });
  const deep = shapeOf({ a: { b: { c: 1 } } });
  expect(deep).toMatchObject({ parts: [{ shape: { kind: "record", parts: [{ shape: { kind: "json" } }] } }] });
});

test("only a column of numbers is numeric", () => {
  expect(isNumeric([{ n: 1 }, { n: null }, {}], "n")).toBe(true);
  expect(isNumeric([{ n: 1 }, { n: "1" }], "n")).toBe(false);
  expect(isNumeric([{}], "n")).toBe(false);
});

test("copied text has no quotes around it", () => {
  expect(asText("plain")).toBe("plain");
  expect(asText({ a: 1 })).toBe('{\n  "a": 1\n}');
});

test("a number that JavaScript would change is shown and copied as it was written", () => {
  const rows = readJson('[{"id": 9007199254740993, "rate": 1.0}]') as Record<string, string>[];
  expect(shapeOf(rows)).toMatchObject({ kind: "table", columns: ["id", "rate"] });
  expect(isNumeric(rows, "id")).toBe(true);
  expect(shapeOf(readJson("1.0"))).toEqual({ kind: "text", text: "1.0" });
  const list = shapeOf(readJson("[1.0, 2]"));
  expect(list.kind === "list" && list.items.map(scalarText)).toEqual(["1.0", "2"]);
  expect(asText(rows)).toBe('[\n  {\n    "id": 9007199254740993,\n    "rate": 1.0\n  }\n]');
});
