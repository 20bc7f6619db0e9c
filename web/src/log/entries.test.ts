import { describe, expect, test } from "vitest";
import type { EntryFragment } from "../gql/graphql";
import { grouped, merged, type Placed } from "./entries";
import { asked, filterOf } from "./filter";

const entry = (id: string, rest: Partial<EntryFragment> = {}): EntryFragment =>
  ({ id, type: "STATUS_CHANGE", status: "OK", execution: null, ...rest }) as EntryFragment;
const placed = (id: string, rest?: Partial<EntryFragment>): Placed => ({ cursor: id, entry: entry(id, rest) });
const attempt = (number: number) => ({ id: `exe_${number}`, number, outcome: null });
const ids = (entries: EntryFragment[]) => entries.map(({ id }) => id).join(" ");
const everything = filterOf(new URLSearchParams());

describe("pages and what comes live", () => {
  test("the newest first: live entries stand before the pages, each once", () => {
    const options = { filter: everything, order: "newest", complete: false } as const;
    expect(
      ids(merged([[placed("3"), placed("2")], [placed("1")]], [placed("3"), placed("4"), placed("5")], options)),
    ).toBe("5 4 3 2 1");
  });

  test("the oldest first: live entries wait until the pages have got there", () => {
    const options = { filter: everything, order: "oldest" } as const;
    expect(ids(merged([[placed("1")]], [placed("9")], { ...options, complete: false }))).toBe("1");
    expect(ids(merged([[placed("1")]], [placed("2"), placed("2")], { ...options, complete: true }))).toBe("1 2");
  });

  test("a live entry has to meet the filter as well", () => {
    const filter = filterOf(new URLSearchParams("log=agent&problems"));
    const live = [
      placed("1"),
      placed("2", { type: "AGENT_RESPONSE" }),
      placed("3", { type: "AGENT_RESPONSE", status: "TIMEOUT" }),
    ];
    expect(ids(merged([], live, { filter, order: "newest", complete: true }))).toBe("3");
  });
});

test("entries stand under their attempts", () => {
  const rows = grouped([
    entry("a"),
    entry("b", { execution: attempt(1) }),
    entry("c", { execution: attempt(1) }),
    entry("d"),
  ]);
  expect(rows.map((row) => (row.kind === "entry" ? row.key : `#${row.number}`))).toEqual([
    "#null",
    "a",
    "#1",
    "b",
    "c",
    "#null",
    "d",
  ]);
  expect(new Set(rows.map((row) => row.key)).size).toBe(rows.length);
});

test("the address says what the service is asked for", () => {
  expect(asked(filterOf(new URLSearchParams("log=validator,nonsense&attempt=exe_1")))).toEqual({
    types: ["VALIDATOR_REQUEST", "VALIDATOR_RESPONSE"],
    statuses: null,
    executionId: "exe_1",
  });
  expect(asked(everything)).toEqual({ types: null, statuses: null, executionId: null });
});
