"""Column types and SQL expressions that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

import gc
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import orjson
from sqlalchemy import BigInteger, DateTime, Float, Integer, String, Text, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

if TYPE_CHECKING:
    from sqlalchemy import Dialect
    from sqlalchemy.sql.compiler import SQLCompiler

    from db.records import JsonValue

# Byte order on both databases, so that keyset pages and Python agree on what comes next.
Id = String(collation="C").with_variant(String(), "sqlite")
ByteText = Text(collation="C").with_variant(Text(), "sqlite")
BigId = BigInteger().with_variant(Integer(), "sqlite")


_LARGE_TEXT_CHARACTERS = 64 * 1024


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC; SQLite keeps it as text with microseconds, which sorts by time."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


def write_json(value: JsonValue) -> str | None:
    """A value as it is stored; None is SQL NULL."""
    return None if value is None else orjson.dumps(value).decode()


def read_json(text: str | None) -> Any:
    """What is stored."""
    if text is None:
        return None
    if len(text) < _LARGE_TEXT_CHARACTERS or not gc.isenabled():
        return orjson.loads(text)
    # Looking for cycles, of which it has none, takes four times as long as reading a large value does.
    gc.disable()
    try:
        return orjson.loads(text)
    finally:
        gc.enable()


class CanonicalJson(TypeDecorator["JsonValue"]):
    """JSON as one compact text on both databases: keys keep their order, numbers their form. None is SQL NULL."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: JsonValue, dialect: Dialect) -> str | None:
        del dialect
        return write_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> JsonValue:
        del dialect
        return cast("JsonValue", read_json(value))


class _Moment(FunctionElement[datetime]):
    """The start of the present statement by the database's clock, plus some seconds."""

    inherit_cache = True
    type = UtcDateTime()


@compiles(_Moment, "postgresql")
def _moment_on_postgresql(element: _Moment, compiler: SQLCompiler, **kw: Any) -> str:
    # statement_timestamp() is stable, so an index serves comparisons with it; clock_timestamp() is volatile.
    seconds = compiler.process(element.clauses, **kw)
    return f"(statement_timestamp() + make_interval(secs => CAST({seconds} AS double precision)))"


@compiles(_Moment, "sqlite")
def _moment_on_sqlite(element: _Moment, compiler: SQLCompiler, **kw: Any) -> str:
    # SQLite's clock has milliseconds; the zeros make its text as long as the one that a Python datetime is bound to.
    seconds = compiler.process(element.clauses, **kw)
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', CAST({seconds} AS text) || ' seconds')"


def in_seconds(seconds: float | str) -> _Moment:
    """SQL for the moment that many seconds from now (negative: ago), by the database's clock.

    A str is the name of the parameter that has the number.
    """
    if isinstance(seconds, str):
        return _Moment(bindparam(seconds, type_=Float()))
    return _Moment(bindparam(None, float(seconds), type_=Float(), unique=True))


def now() -> _Moment:
    """SQL for the present moment by the database's clock."""
    return in_seconds(0)


class _Clock(FunctionElement[datetime]):
    """The moment at which it is evaluated by the database's clock: after whatever its statement has waited for."""

    inherit_cache = True
    type = UtcDateTime()


@compiles(_Clock, "postgresql")
def _clock_on_postgresql(element: _Clock, compiler: SQLCompiler, **kw: Any) -> str:
    del element, compiler, kw
    return "clock_timestamp()"


@compiles(_Clock, "sqlite")
def _clock_on_sqlite(element: _Clock, compiler: SQLCompiler, **kw: Any) -> str:
    # Who writes there has waited before.
    del element
    return compiler.process(now(), **kw)


def clock() -> _Clock:
    """SQL for the moment at which a row is written: where that waits for a lock, afterwards. No index serves it."""
    return _Clock()


class _Epoch(FunctionElement[float]):
    """The start of the present statement by the database's clock, in seconds since 1970."""

    inherit_cache = True
    type = Float()


@compiles(_Epoch, "postgresql")
def _epoch_on_postgresql(element: _Epoch, compiler: SQLCompiler, **kw: Any) -> str:
    del element, compiler, kw
    return "CAST(extract(epoch FROM statement_timestamp()) AS double precision)"


@compiles(_Epoch, "sqlite")
def _epoch_on_sqlite(element: _Epoch, compiler: SQLCompiler, **kw: Any) -> str:
    del element, compiler, kw
    return "((julianday('now') - 2440587.5) * 86400.0)"


def epoch() -> _Epoch:
    """SQL for the present moment in seconds since 1970, by the database's clock."""
    return _Epoch()
