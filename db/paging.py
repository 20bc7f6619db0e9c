"""Keyset pages: one statement whatever the number of parents and whatever the page size.

A list is ordered by a key whose last column is unique, so a page asked for by position is stable while rows are
inserted. Every statement asks for one row more than the page, which tells whether there is a next one.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import ColumnElement, Integer, and_, bindparam, column, func, literal, select, true, tuple_
from sqlalchemy.dialects.postgresql import ARRAY

from db.records import PageOf
from db.types import BigId, Id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import FromClause, Row, Select, Table, TableValuedAlias

    from db.records import Page
    from db.session import Transaction

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Key:
    """A list's sort key: names of columns, all ascending or all descending; the last is unique within a list."""

    names: tuple[str, ...]
    descending: bool = False

    def order(self, rows: FromClause, *, backward: bool) -> list[ColumnElement[Any]]:
        """ORDER BY for reading forward, or backward from the end."""
        descending = self.descending != backward
        return [rows.c[name].desc() if descending else rows.c[name].asc() for name in self.names]

    def beyond(self, rows: FromClause, position: Sequence[Any], *, after: bool) -> ColumnElement[bool]:
        """The rows strictly after (or before) a position in the list's order: one range of an index."""
        columns = [rows.c[name] for name in self.names]
        values = [
            # A position comes from outside: its number may be larger than any that the column holds.
            bindparam(None, value, type_=BigId if isinstance(item.type, Integer) else item.type, unique=True)
            for value, item in zip(position, columns, strict=True)
        ]
        greater = after != self.descending
        return tuple_(*columns) > tuple_(*values) if greater else tuple_(*columns) < tuple_(*values)

    def cut(self, statement: Select[Any], rows: FromClause, page: Page) -> Select[Any]:
        """Restrict a statement to one page and a row more, in reading order."""
        if page.after is not None:
            statement = statement.where(self.beyond(rows, page.after, after=True))
        if page.before is not None:
            statement = statement.where(self.beyond(rows, page.before, after=False))
        return statement.order_by(*self.order(rows, backward=page.backward)).limit(page.limit + 1)


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
    build: Callable[[FromClause], Select[Any]],
    key: Key,
    page: Page,
    record: Callable[[Row[Any]], R],
) -> PageOf[R]:
    """One page of one list. `build` selects the list from the table that it is given."""
    rows = (await tx.connection.execute(key.cut(build(table), table, page))).all()
    return _page_of([record(row) for row in rows], page)


async def pages_of_parents(
    tx: Transaction,
    table: Table,
    build: Callable[[FromClause], Select[Any]],
    parent: str,
    parent_ids: Sequence[str],
    key: Key,
    page: Page,
    record: Callable[[Row[Any]], R],
) -> list[PageOf[R]]:
    """The same page of many parents' lists in one statement, in the order of `parent_ids`.

    `build` selects from the table (or alias of it) that it is given, with the column named `parent` among the rest.
    """
    wanted = id_list(tx, parent_ids)
    if tx.postgresql:
        # For each parent one range of an index, left at the limit.
        ranges = key.cut(build(table).where(table.c[parent] == wanted.c.value), table, page).lateral("part")
        statement = select(ranges).select_from(wanted.join(ranges, true()))
        statement = statement.order_by(*key.order(ranges, backward=page.backward))
    else:
        # SQLite has no LATERAL; a correlated subquery on the column that is unique within a list reads the same ranges.
        part = table.alias("part")
        unique = key.names[-1]
        ids = key.cut(build(part).where(part.c[parent] == wanted.c.value), part, page)
        ids = ids.with_only_columns(part.c[unique]).correlate(wanted)
        of_parent = and_(table.c[parent] == wanted.c.value, table.c[unique].in_(ids.scalar_subquery()))
        statement = build(table).select_from(wanted.join(table, of_parent))
        statement = statement.order_by(*key.order(table, backward=page.backward))
    found: defaultdict[str, list[R]] = defaultdict(list)
    for row in await tx.connection.execute(statement):
        found[getattr(row, parent)].append(record(row))
    return [_page_of(found[parent_id], page) for parent_id in parent_ids]


async def counts_of_parents(
    tx: Transaction,
    table: Table,
    build: Callable[[FromClause], Select[Any]],
    parent: str,
    parent_ids: Sequence[str],
) -> list[int]:
    """How many rows each parent's list has, in one statement, in the order of `parent_ids`."""
    statement = build(table).where(table.c[parent].in_(ids_in(tx, parent_ids)))
    statement = statement.with_only_columns(table.c[parent], func.count()).group_by(table.c[parent])
    found = {row[0]: row[1] for row in await tx.connection.execute(statement)}
    return [found.get(parent_id, 0) for parent_id in parent_ids]


def id_list(tx: Transaction, ids: Sequence[str]) -> TableValuedAlias:
    """A list of ids as a table with the column `value`: one bound parameter, so one cached statement."""
    # Ours are ASCII. What else stands there from outside is the id of nothing, and no text for every database.
    ids = [item for item in ids if item.isascii() and "\0" not in item]
    if tx.postgresql:
        bound = bindparam(None, ids, type_=ARRAY(Id), unique=True)
        return func.unnest(bound).table_valued(column("value", Id), name="wanted").render_derived()
    bound_text = literal(json.dumps(ids))
    return func.json_each(bound_text).table_valued(column("value", Id), name="wanted")


def ids_in(tx: Transaction, ids: Sequence[str]) -> Select[tuple[str]]:
    """A list of ids as the right side of IN."""
    wanted = id_list(tx, ids)
    return select(wanted.c.value)
