"""The way to the database: short transactions that services open and hand to statement functions."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

# How long a SQLite writer waits for another process's transaction. Ours take milliseconds.
SQLITE_BUSY_SECONDS = 30
# Each is a thread; one writes, the others read.
SQLITE_CONNECTIONS = 8


# The execution option of a connection whose transaction may write.
WRITES = "signoff_writes"


def engine_for(url: str, *, pool_size: int = 20) -> AsyncEngine:
    """Make the engine for a URL, set up as durably as this service needs; nothing connects yet."""
    if make_url(url).get_backend_name() != "sqlite":
        return create_async_engine(url, pool_size=pool_size, max_overflow=0)
    engine = create_async_engine(
        url, pool_size=min(pool_size, SQLITE_CONNECTIONS), max_overflow=0, pool_timeout=SQLITE_BUSY_SECONDS
    )
    _set_up_sqlite(engine)
    return engine


class Transaction:
    """One open transaction. Services pass it on and never look inside."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection
        self.postgresql = connection.dialect.name == "postgresql"
        self.logged_jobs: set[str] = set()


class Database:
    """One database, SQLite or PostgreSQL, and its connections."""

    def __init__(self, engine: AsyncEngine, on_commit: Callable[[frozenset[str]], None] | None) -> None:
        self._engine = engine
        self._on_commit = on_commit
        # SQLite has one writer at a time. Waiting here is fair and idle; its own busy handler sleeps and starves.
        self._one_writer = asyncio.Lock() if engine.dialect.name == "sqlite" else None

    @classmethod
    def open(
        cls,
        url: str,
        *,
        on_commit: Callable[[frozenset[str]], None] | None = None,
        pool_size: int = 20,
    ) -> Self:
        """Open a database; nothing connects yet. `on_commit` gets the ids of the jobs whose logs a commit grew.

        Raises sqlalchemy.exc.ArgumentError for a URL that is none.
        """
        return cls(engine_for(url, pool_size=pool_size), on_commit)

    @property
    def is_postgresql(self) -> bool:
        """Whether this is PostgreSQL (else SQLite)."""
        return self._engine.dialect.name == "postgresql"

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[Transaction]:
        """Open a transaction that may write; commits at the end of the block, rolls back on an exception."""
        async with self._one_writer or nullcontext(), self._engine.connect() as connection:
            await connection.execution_options(**{WRITES: True})
            tx = Transaction(connection)
            async with connection.begin():
                yield tx
        if self._on_commit is not None and tx.logged_jobs:
            self._on_commit(frozenset(tx.logged_jobs))

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[Transaction]:
        """Open a transaction that only reads."""
        async with self._engine.connect() as connection, connection.begin():
            yield Transaction(connection)

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()


def _set_up_sqlite(engine: AsyncEngine) -> None:
    """Durable, concurrent and checked: WAL, every commit on disk, foreign keys, our own BEGIN."""

    @event.listens_for(engine.sync_engine, "connect")
    def configure(dbapi_connection: Any, record: object) -> None:
        del record
        # The driver would open transactions by itself, and late: we say BEGIN ourselves, see below.
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        wanted = {
            "journal_mode": "wal",
            "synchronous": 2,  # FULL: a power cut loses no commit
            "foreign_keys": 1,
            "busy_timeout": SQLITE_BUSY_SECONDS * 1000,
        }
        for pragma, value in wanted.items():
            cursor.execute(f"PRAGMA {pragma} = {value}")
            cursor.execute(f"PRAGMA {pragma}")
            (got,) = cursor.fetchone()
            if got != value:
                message = f"SQLite does not take {pragma} = {value} here (it says {got})"
                raise RuntimeError(message)
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        # A writer that begins by reading would fail when it comes to write; IMMEDIATE waits its turn at the start.
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
