"""Statements that are executed one after the other, each only where the one before it has found or changed a row.

PostgreSQL executes a chain as one statement: each link is a common table expression that looks whether the one before
it has a row, and is therefore executed after it. A round trip takes longer than most of what is asked for in one.
Where there are more links than a statement should have they are executed one by one, in one transaction.
SQLite has no statements that write within others, and no trips to save: there they are executed one by one.

All links of one statement see what was committed when it began, also where the first of them waits for a lock. What a
link finds locked or changed since then it looks at again, as it then stands: so a row is taken by conditions on itself
(a fence, a revision), and what other rows say is read by a statement that comes after the lock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from sqlalchemy import CTE, Integer, Update, bindparam, literal_column, select
from sqlalchemy.dialects import postgresql, sqlite

from db.paging import prepared
from db.prepared import in_group, new

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

    from sqlalchemy import BindParameter, ColumnElement, Delete, FromClause, Insert, Select, Table
    from sqlalchemy.types import TypeEngine

    from db.session import Transaction

    Insertion: TypeAlias = postgresql.dml.Insert | sqlite.dml.Insert


# Building a statement takes time by the square of its links, in which nobody else has a turn: a twentieth of a second
# for these. Longer ones, of what a validator was told that had asked many things at once, take more trips instead.
MOST_LINKS = 16


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a chain a link is: what its parameters are called, and what it waits for."""

    postgresql: bool
    number: int = 0
    after: CTE | None = None
    changed: Mapping[str, CTE] = field(default_factory=dict[str, CTE])
    """By table: the rows that links before have changed, as they are now."""

    @property
    def when(self) -> tuple[ColumnElement[bool], ...]:
        """What the link is conditional on."""
        return () if self.after is None else (select(literal_column("1", Integer())).select_from(self.after).exists(),)

    def name(self, name: str) -> str:
        """What a parameter of the link is called: others may have one of the same name."""
        return in_group(self.number, name)

    def parameter(self, name: str, type_: TypeEngine[Any]) -> BindParameter[Any]:
        """A parameter of the link."""
        return bindparam(self.name(name), type_=type_)

    def new(self, table: Table, names: Iterable[str], prefix: str = "new") -> dict[str, BindParameter[Any]]:
        """A parameter for each of these columns of a table: see `db.prepared.new`."""
        return new(table, names, self.name(prefix))

    def as_changed(self, table: Table) -> FromClause:
        """The table as the links before have left it, which a statement does not see of itself.

        Where one has changed a row of it, it has that row alone, and the columns that were brought of it.
        """
        return self.changed.get(table.name, table)

    def insert(self, table: Table, values: Mapping[str, ColumnElement[Any]]) -> Insertion:
        """Insert a row, when it is time."""
        inserted = postgresql.insert(table) if self.postgresql else sqlite.insert(table)
        if self.after is None:
            return inserted.inline().values(values)
        return inserted.from_select(list(values), select(*values.values()).where(*self.when))

    def upsert(self, table: Table, values: Mapping[str, ColumnElement[Any]]) -> Insertion:
        """The same, in place of the row that has its primary key."""
        inserted = self.insert(table, values)
        changed = {name: inserted.excluded[name] for name in values if not table.c[name].primary_key}
        return inserted.on_conflict_do_update(index_elements=list(table.primary_key), set_=changed)


@dataclass(frozen=True, slots=True)
class Link:
    """A statement on one row, which it brings."""

    shape: Hashable
    """By this it is kept, once it is built."""
    build: Callable[[Place], Select[*tuple[Any, ...]] | Insert | Update | Delete]
    values: Mapping[str, Any]
    brings: int = 1
    """How many columns of its row. Where it brings 0, it may as well find no row, and those after it do not mind."""
    rings: str | None = None
    """Whose followers are told, once it is committed."""


async def chained(tx: Transaction, *links: Link) -> Sequence[Sequence[Any]] | None:
    """Execute the links; returns the columns that each brings, by place. None: one has found nothing.

    Those after it are then not executed.
    """
    if tx.postgresql and 1 < len(links) <= MOST_LINKS:
        found = await _as_one(tx, links)
    else:
        if len(links) > 1:
            await tx.takes_several()
        found = await _one_by_one(tx, links)
    if found is not None:
        tx.rings.update(link.rings for link in links if link.rings is not None)
    return found


async def _one_by_one(tx: Transaction, links: Sequence[Link]) -> Sequence[Sequence[Any]] | None:
    found: list[Sequence[Any]] = []
    for link in links:
        statement = prepared(tx, ("link", link.shape), partial(link.build, Place(tx.postgresql)), named=False)
        row = await tx.fetch_one(statement, {in_group(0, name): value for name, value in link.values.items()})
        if row is None and link.brings:
            return None
        found.append(row or ())
    return found


async def _as_one(tx: Transaction, links: Sequence[Link]) -> Sequence[Sequence[Any]] | None:
    statement = prepared(tx, ("chain", *(link.shape for link in links)), partial(_chain, links), named=False)
    row = await tx.fetch_one(statement, *(link.values for link in links))
    if row is None:
        return None
    columns = iter(row)
    return [tuple(islice(columns, link.brings)) for link in links]


def _chain(links: Sequence[Link]) -> Select[*tuple[Any, ...]]:
    parts: list[CTE] = []
    needed: list[CTE] = []
    changed: Mapping[str, CTE] = {}
    for number, link in enumerate(links):
        place = Place(postgresql=True, number=number, after=needed[-1] if needed else None, changed=changed)
        statement = link.build(place)
        part = statement.cte(f"l{number}")
        parts.append(part)
        if link.brings:
            needed.append(part)
            if isinstance(statement, Update):
                changed = {**changed, cast("Table", statement.table).name: part}
    return select(*(column for part in needed for column in part.c)).add_cte(*parts)
