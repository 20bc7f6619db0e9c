"""Keyset pages: one statement whatever the number of parents and whatever the page size.

A list is ordered by a key whose last column is unique, so a page asked for by position is stable while rows are
inserted. Every statement asks for one row more than the page, which tells whether there is a next one.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy import (
    ColumnElement,
    Integer,
    Text,
    and_,
    any_,
    bindparam,
    column,
    func,
    literal,
    literal_column,
    select,
    true,
    tuple_,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import ARRAY

from db.prepared import Prepared
from db.records import PageOf
from db.types import BigId, ByteText, CanonicalJson, Id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import FromClause, Row, Select, Table, TableValuedAlias

    from db.prepared import Statement
    from db.records import Page
    from db.session import Transaction

R = TypeVar("R")

# Of arrays, the driver knows those of text without asking the database, which takes it milliseconds on each connection.
_IDS = ARRAY(ByteText)


class Named(Protocol):
    """A record with an id of its own."""

    @property
    def id(self) -> str: ...


N = TypeVar("N", bound=Named)


@dataclass(frozen=True, slots=True)
class Key:
    """A list's sort key: names of columns, all ascending or all descending; the last is unique within a list."""

    names: tuple[str, ...]
    descending: bool = False

    def order(self, rows: FromClause, *, backward: bool) -> list[ColumnElement[Any]]:
        """ORDER BY for reading forward, or backward from the end."""
        descending = self.descending != backward
        return [rows.c[name].desc() if descending else rows.c[name].asc() for name in self.names]

    def beyond(self, rows: FromClause, *, after: bool) -> ColumnElement[bool]:
        """The rows strictly after (or before) a position in the list's order: one range of an index."""
        columns = [rows.c[name] for name in self.names]
        side = "after" if after else "before"
        values = [
            # A position comes from outside: its number may be larger than any that the column holds.
            bindparam(f"{side}_{number}", type_=BigId if isinstance(item.type, Integer) else item.type)
            for number, item in enumerate(columns)
        ]
        greater = after != self.descending
        return tuple_(*columns) > tuple_(*values) if greater else tuple_(*columns) < tuple_(*values)

    def cut(self, statement: Select[Any], rows: FromClause, page: Page, *, is_kept: bool) -> Select[Any]:
        """Restrict a statement to one page and a row more, in reading order; `_values` has its parameters."""
        if page.after is not None:
            statement = statement.where(self.beyond(rows, after=True))
        if page.before is not None:
            statement = statement.where(self.beyond(rows, after=False))
        # A number that PostgreSQL does not know yet is a tenth of the table to it, for which other plans are better, so
        # it plans anew each time. What is kept is to be planned once, and has it in the text; but the best way through
        # a list that is filtered depends on how many rows the filter lets through, so that is not.
        size: ColumnElement[int] = (
            literal_column(str(page.limit + 1), Integer()) if is_kept else literal(page.limit + 1, Integer())
        )
        return statement.order_by(*self.order(rows, backward=page.backward)).limit(size)


def _values(page: Page) -> dict[str, Any]:
    """The parameters of a statement that was `cut`."""
    found: dict[str, Any] = {}
    for side, position in (("after", page.after), ("before", page.before)):
        found.update((f"{side}_{number}", value) for number, value in enumerate(position or ()))
    return found


def _shape(page: Page) -> tuple[int, bool, bool, bool]:
    return page.limit, page.backward, page.after is not None, page.before is not None


@dataclass(frozen=True, slots=True)
class Listing:
    """How a list is selected from a table: what builds the statement, and its own parameters.

    Listings of one shape build the same statement, whatever the values: it is built once. Without a shape it is built
    anew each time, and its values are within. Rows are read by name, or by place: see Prepared.
    """

    build: Callable[[FromClause], Select[Any]]
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    shape: Hashable = None
    named: bool = True


def unread(table: FromClause, names: Sequence[str]) -> Select[Any]:
    """Select columns by name, for rows that are read by place: see `unread_columns`."""
    return select(*unread_columns(table, names))


def unread_columns(table: FromClause, names: Sequence[str]) -> list[ColumnElement[Any]]:
    """Columns by name, JSON as the text that is stored."""
    return [
        type_coerce(table.c[name], Text()).label(name)
        if isinstance(table.c[name].type, CanonicalJson)
        else table.c[name]
        for name in names
    ]


# Clients choose the sizes of pages and what of records is read: what nobody asks for any more makes room.
# Each takes some 60 KiB.
_LARGEST_KEPT = 500
_kept: dict[Hashable, Prepared] = {}
"""Those that were asked for last come last."""


def prepared(tx: Transaction, shape: Hashable, build: Callable[[], Statement], *, named: bool = True) -> Prepared:
    """The statement of a shape, built once for each kind of database; None as the shape: built anew."""
    if shape is None:
        return Prepared(build(), tx.dialect, whole=False, named=named)
    key = (tx.postgresql, shape)
    found = _kept.pop(key, None) or Prepared(build(), tx.dialect, named=named)
    _kept[key] = found
    if len(_kept) > _LARGEST_KEPT:
        del _kept[next(iter(_kept))]
    return found


def _page_of(rows: Sequence[R], page: Page) -> PageOf[R]:
    """The rows of a statement that was `cut`, as a page in the list's order."""
    more = len(rows) > page.limit
    kept = tuple(rows[: page.limit])
    if page.backward:
        return PageOf(kept[::-1], has_next=page.before is not None, has_previous=more)
    return PageOf(kept, has_next=more, has_previous=page.after is not None)


async def page_of_list(
    tx: Transaction,
    table: Table,
    listing: Listing,
    key: Key,
    page: Page,
    record: Callable[[Row[Any]], R],
) -> PageOf[R]:
    """One page of one list."""
    shape = None if listing.shape is None else ("page", table.name, listing.shape, key, _shape(page))

    def build() -> Select[Any]:
        return key.cut(listing.build(table), table, page, is_kept=shape is not None)

    statement = prepared(tx, shape, build, named=listing.named)
    rows = await tx.fetch(statement, {**listing.values, **_values(page)})
    return _page_of([record(row) for row in rows], page)


async def pages_of_parents(
    tx: Transaction,
    table: Table,
    listing: Listing,
    parent: str,
    parent_ids: Sequence[str],
    key: Key,
    page: Page,
    record: Callable[[Row[Any]], R],
) -> list[PageOf[R]]:
    """The same page of many parents' lists in one statement, in the order of `parent_ids`.

    `listing` selects from the table (or alias of it) that it is given, with the column named `parent` among the rest;
    records call their columns as the table does.
    """
    if len(parent_ids) == 1:
        return [await page_of_list(tx, table, _of_one(listing, parent, *parent_ids), key, page, record)]
    shape = None if listing.shape is None else ("pages", table.name, listing.shape, parent, key, _shape(page))
    statement = prepared(
        tx,
        shape,
        lambda: _of_parents(table, listing.build, parent, key, page, postgresql=tx.postgresql),
        named=listing.named,
    )
    rows = await tx.fetch(statement, {**listing.values, **_values(page), "ids": id_values(tx, parent_ids)})
    parent_of, position_of = attrgetter(parent), attrgetter(*key.names)
    found: defaultdict[str, list[R]] = defaultdict(list)
    for item in map(record, rows):
        found[parent_of(item)].append(item)
    for items in found.values():
        # They are in order already, but the statement does not promise it: see `_of_parents`.
        items.sort(key=position_of, reverse=key.descending != page.backward)
    return [_page_of(found[parent_id], page) for parent_id in parent_ids]


def _of_parents(
    table: Table,
    build: Callable[[FromClause], Select[Any]],
    parent: str,
    key: Key,
    page: Page,
    *,
    postgresql: bool,
) -> Select[Any]:
    wanted = ids_parameter(postgresql=postgresql)
    statement: Select[Any]
    if postgresql:
        # For each parent one range of an index, left at the limit. All of them are not put in an order: the first rows
        # are read while PostgreSQL still looks for the last.
        of_one = build(table).where(table.c[parent] == wanted.c.value)
        ranges = key.cut(of_one, table, page, is_kept=True).lateral("part")
        statement = select(ranges).select_from(wanted.join(ranges, true()))
    else:
        # SQLite has no LATERAL; a correlated subquery on the column that is unique within a list reads the same ranges.
        part = table.alias("part")
        unique = key.names[-1]
        ids = key.cut(build(part).where(part.c[parent] == wanted.c.value), part, page, is_kept=True)
        ids = ids.with_only_columns(part.c[unique]).correlate(wanted)
        of_parent = and_(table.c[parent] == wanted.c.value, table.c[unique].in_(ids.scalar_subquery()))
        statement = build(table).select_from(wanted.join(table, of_parent))
    return statement


async def counts_of_parents(
    tx: Transaction,
    table: Table,
    listing: Listing,
    parent: str,
    parent_ids: Sequence[str],
) -> list[int]:
    """How many rows each parent's list has, in one statement, in the order of `parent_ids`."""
    if len(parent_ids) == 1:
        return [await count_of_list(tx, table, _of_one(listing, parent, *parent_ids))]

    def build() -> Select[Any, int]:
        statement = listing.build(table).where(_is_wanted(table.c[parent], postgresql=tx.postgresql))
        return statement.with_only_columns(table.c[parent], func.count().label("rows")).group_by(table.c[parent])

    shape = None if listing.shape is None else ("counts", table.name, listing.shape, parent)
    rows = await tx.fetch(prepared(tx, shape, build), {**listing.values, "ids": id_values(tx, parent_ids)})
    found = {row[0]: row[1] for row in rows}
    return [found.get(parent_id, 0) for parent_id in parent_ids]


async def count_of_list(tx: Transaction, table: Table, listing: Listing) -> int:
    """How many rows a list has."""

    def build() -> Select[Any]:
        return listing.build(table).with_only_columns(func.count().label("rows"), maintain_column_froms=True)

    shape = None if listing.shape is None else ("count", table.name, listing.shape)
    (row,) = await tx.fetch(prepared(tx, shape, build), listing.values)
    total: int = row[0]
    return total


async def by_ids(
    tx: Transaction, table: Table, listing: Listing, ids: Sequence[str], record: Callable[[Row[Any]], N]
) -> list[N | None]:
    """Rows of a list by their ids, in the order asked for; None for one that is not in it."""
    if len(ids) == 1:
        return [await _by_id(tx, table, _of_one(listing, "id", *ids), record)]

    def build() -> Select[Any]:
        return listing.build(table).where(_is_wanted(table.c.id, postgresql=tx.postgresql))

    shape = None if listing.shape is None else ("ids", table.name, listing.shape)
    statement = prepared(tx, shape, build, named=listing.named)
    found = {
        item.id: item for item in map(record, await tx.fetch(statement, {**listing.values, "ids": id_values(tx, ids)}))
    }
    return [found.get(id_) for id_ in ids]


async def _by_id(tx: Transaction, table: Table, listing: Listing, record: Callable[[Row[Any]], N]) -> N | None:
    shape = None if listing.shape is None else ("id", table.name, listing.shape)
    row = await tx.fetch_one(prepared(tx, shape, lambda: listing.build(table), named=listing.named), listing.values)
    return None if row is None else record(row)


def _of_one(listing: Listing, column: str, id_: str) -> Listing:
    """What of a list has one id in a column; PostgreSQL takes a third less for it than for a list of one id."""

    def build(table: FromClause) -> Select[Any]:
        return listing.build(table).where(table.c[column] == bindparam("key", type_=Id))

    shape = None if listing.shape is None else (column, listing.shape)
    return Listing(build, {**listing.values, "key": id_ if _may_be_id(id_) else ""}, shape, listing.named)


def _may_be_id(text: str) -> bool:
    # Ours are ASCII. What else stands there from outside is the id of nothing, and no text for every database.
    return text.isascii() and "\0" not in text


def id_values(tx: Transaction, ids: Sequence[str]) -> list[str] | str:
    """A list of ids, as the value of `ids_parameter`."""
    ids = list(filter(_may_be_id, ids))
    return ids if tx.postgresql else json.dumps(ids)


def _is_wanted(item: ColumnElement[str], *, postgresql: bool) -> ColumnElement[bool]:
    """Whether a column has one of the parameter `ids`."""
    if postgresql:
        # Half of what a join with them takes.
        return item == any_(bindparam("ids", type_=_IDS))
    return item.in_(select(ids_parameter(postgresql=False).c.value))


def ids_parameter(*, postgresql: bool) -> TableValuedAlias:
    """The parameter `ids` as a table with the column `value`."""
    if postgresql:
        bound = bindparam("ids", type_=_IDS)
        return func.unnest(bound).table_valued(column("value", Id), name="wanted").render_derived()
    return func.json_each(bindparam("ids", type_=Text())).table_valued(column("value", Id), name="wanted")


def id_list(tx: Transaction, ids: Sequence[str]) -> TableValuedAlias:
    """A list of ids as a table with the column `value`: one bound parameter, so one cached statement."""
    values = id_values(tx, ids)
    if isinstance(values, str):
        return func.json_each(literal(values)).table_valued(column("value", Id), name="wanted")
    bound = bindparam(None, values, type_=_IDS, unique=True)
    return func.unnest(bound).table_valued(column("value", Id), name="wanted").render_derived()


def ids_in(tx: Transaction, ids: Sequence[str]) -> Select[tuple[str]]:
    """A list of ids as the right side of IN."""
    wanted = id_list(tx, ids)
    return select(wanted.c.value)
