"""Statements that are built once, and PostgreSQL asked without anything in between.

Building a statement, finding it in SQLAlchemy's cache and carrying its rows through greenlets takes several times as
long as PostgreSQL does. What is read most is therefore a `Prepared`: built once for each shape that it can have, with
named parameters. A transaction that only reads hands it straight to asyncpg. Each statement is then its own
transaction, which on PostgreSQL's READ COMMITTED sees what it would have seen within one.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque, namedtuple
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import asyncpg
from sqlalchemy import bindparam

from db.types import CanonicalJson, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlalchemy import BindParameter, Delete, Dialect, Insert, Select, Table, TextClause, Update
    from sqlalchemy.ext.asyncio import AsyncEngine

    Statement: TypeAlias = Select[*tuple[Any, ...]] | Insert | Update | Delete | TextClause


class _Compiled(NamedTuple):
    """A statement's text, the parameters in their order, and how its rows are made."""

    text: str
    names: Sequence[str]
    constants: Mapping[str, Any]
    json: frozenset[str]
    grouped: Sequence[tuple[int, str, bool]]
    """Of several groups of values, whose each parameter is, what it is called there, and whether it is written as JSON.
    The last group are the constants."""
    row: Callable[[Any], Any] | None
    """None: as it comes."""

    def rows(self, records: list[Any]) -> list[Any]:
        """The rows of what the driver brought."""
        row = self.row
        return records if row is None else [row(record) for record in records]


class Prepared:
    """A statement of one shape, with named parameters."""

    def __init__(self, statement: Statement, dialect: Dialect, *, whole: bool = True, named: bool = True) -> None:
        """Unless it is `whole`, values are within, and only SQLAlchemy knows which.

        Rows are read by the names of their columns; unless they are `named`, by place, as the driver has them: no JSON
        among them is read then.
        """
        self.statement = statement
        self.whole = whole
        self.named = named
        self._dialect = dialect

    @cached_property
    def compiled(self) -> _Compiled:
        """The statement as asyncpg takes it."""
        compiled: Any = self.statement.compile(dialect=self._dialect)
        statement: Any = self.statement
        columns: list[Any] = list(getattr(statement, "exported_columns", ()))
        constants = {
            name: bind.value for name, bind in compiled.binds.items() if not (bind.required or bind.value is None)
        }
        names = compiled.positiontup or ()
        written = frozenset(name for name, bind in compiled.binds.items() if isinstance(bind.type, CanonicalJson))
        places = ((-1, name) if name in constants else _place(name) for name in names)
        return _Compiled(
            compiled.string,
            names,
            constants,
            written,
            [(number, key, name in written) for (number, key), name in zip(places, names, strict=True)],
            _row_of(columns) if self.named else None,
        )

    def arguments(self, values: Mapping[str, Any], *others: Mapping[str, Any]) -> list[Any]:
        """The parameters in their order; where there are several groups of values, they are called `in_group`."""
        compiled = self.compiled
        if others:
            groups = (values, *others, compiled.constants)
            return [
                write_json(groups[number][name]) if is_json else groups[number][name]
                for number, name, is_json in compiled.grouped
            ]
        found: list[Any] = []
        for name in compiled.names:
            # What is not given was written into the statement as it was built.
            value = values[name] if name in values else compiled.constants[name]
            found.append(write_json(value) if name in compiled.json else value)
        return found


def in_group(number: int, name: str) -> str:
    """What a parameter is called that has its value in the group of that number."""
    return f"g{number}_{name}"


_GROUPED = re.compile(r"g(\d+)_(.+)")


def _place(name: str) -> tuple[int, str]:
    found = _GROUPED.fullmatch(name)
    return (0, name) if found is None else (int(found[1]), found[2])


def new(table: Table, names: Iterable[str], prefix: str = "new") -> dict[str, BindParameter[Any]]:
    """A parameter for each of these columns of a table; `given` has their values."""
    return {name: bindparam(f"{prefix}_{name}", type_=table.c[name].type) for name in names}


def given(values: Mapping[str, Any], prefix: str = "new") -> dict[str, Any]:
    """The values of the parameters that `new` makes."""
    return {f"{prefix}_{name}": value for name, value in values.items()}


def _row_of(columns: Sequence[Any]) -> Callable[[Any], Any]:
    """What makes a row with names, its JSON read as SQLAlchemy's types would have done it."""
    # What SQLAlchemy did not write has columns that it does not know.
    names = [column.key for column in columns]
    make: Any = cast("Any", namedtuple)("Row", names)._make if names else tuple  # noqa: PYI024  (known only now)
    stored = [number for number, column in enumerate(columns) if isinstance(column.type, CanonicalJson)]
    if not stored:
        return cast("Callable[[Any], Any]", make)

    def row(record: Any) -> Any:
        values = list(record)
        for number in stored:
            values[number] = read_json(values[number])
        return make(values)

    return row


def tell(source: Any, text: str, arguments: Sequence[Any]) -> None:
    """Tell those who listen to the statements of an engine or connection: to them, this is one of them."""
    for listener in source.dispatch.before_cursor_execute:
        listener(None, None, text, tuple(arguments), None, False)  # noqa: FBT003  (SQLAlchemy's signature)


# What a connection raises that was closed while nobody used it: the server restarted, say. The third is of one that is
# just being told so.
_GONE = (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, asyncpg.InternalClientError, ConnectionError)


# How PostgreSQL plans what is only read. Said when a connection is there: poolers refuse to begin one with it.
_PLANNING = (
    # What is built once is planned once. By itself PostgreSQL plans anew each time where it takes a list of ids for
    # longer than it mostly is, which takes it longer than reading them.
    "SET plan_cache_mode = force_generic_plan;"
    # Disks do not turn any more. As if they did, it reads all of a job's log and sorts it for the first page, which an
    # index has in order.
    "SET random_page_cost = 1.1"
)


class Lines:
    """Connections for statements that only read; at most so many."""

    def __init__(self, engine: AsyncEngine, size: int) -> None:
        self._engine = engine
        self._free: deque[asyncpg.Connection[Any]] = deque()
        self._turns = asyncio.Semaphore(size)
        self.size = size
        self.in_use = 0

    async def fetch(self, prepared: Prepared, *values: Mapping[str, Any]) -> list[Any]:
        """Execute a statement by itself."""
        compiled = prepared.compiled
        text = compiled.text
        arguments = prepared.arguments(*values)
        tell(self._engine.sync_engine, text, arguments)
        async with self._turns:
            self.in_use += 1
            try:
                records = await self._fetch(text, arguments)
            finally:
                self.in_use -= 1
        return compiled.rows(records)

    async def _fetch(self, text: str, arguments: Sequence[Any]) -> list[Any]:
        while True:
            kept = bool(self._free)
            line = self._free.pop() if kept else await self._connect()
            if line.is_closed():
                continue
            try:
                records = await line.fetch(text, *arguments)
            except _GONE:
                line.terminate()
                # It was lost while it lay idle, and nothing was changed: a fresh one is asked again.
                if kept:
                    continue
                raise
            except BaseException:
                # Nobody knows in what state this leaves it.
                line.terminate()
                raise
            self._free.append(line)
            return records

    async def _connect(self) -> asyncpg.Connection[Any]:
        _, options = self._engine.dialect.create_connect_args(self._engine.url)
        known: dict[str, Any] = dict(options)
        for name in ("prepared_statement_cache_size", "prepared_statement_name_func", "async_creator_fn"):
            known.pop(name, None)
        line: asyncpg.Connection[Any] = await asyncpg.connect(**known)
        try:
            await line.execute(_PLANNING)
        except BaseException:
            line.terminate()
            raise
        return line

    async def close(self) -> None:
        """Close them all."""
        while self._free:
            await self._free.pop().close()
