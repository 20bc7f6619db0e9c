"""The way to the database: short transactions that services open and hand to statement functions."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import deque
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self, cast
from weakref import WeakKeyDictionary, WeakSet

import aiosqlite
from asyncpg.exceptions import InterfaceError, InternalClientError, PostgresError
from sqlalchemy import CursorResult, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from db.prepared import Lines, Prepared, tell

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from threading import Thread

    from sqlalchemy import Dialect, Engine

# How long a SQLite writer waits for another process's transaction. Ours take milliseconds.
SQLITE_BUSY_SECONDS = 30
# How long work waits for a connection. A thousand executions share a few, each for milliseconds at a time: whoever
# waits this long waits for a database that is down.
POOL_SECONDS = 120
# How long the server lets a transaction do nothing. Between their statements ours do nothing for milliseconds: one that
# does was stopped or cut off, and would hold up its job and everybody's feed for as long.
IDLE_SECONDS = 30
# Statements that are read straight through the driver, each for less than a millisecond, besides the pool.
READING_LINES = 10
# Each is a thread; one writes, the others read.
SQLITE_CONNECTIONS = 8


# The execution option of a connection whose transaction may write.
WRITES = "signoff_writes"


def is_postgresql(url: str) -> bool:
    """Whether a URL names a PostgreSQL database (else one of SQLite). Raises ArgumentError for one that is none."""
    return make_url(url).get_backend_name() == "postgresql"


def without_secrets(url: str) -> str:
    """A URL as it may be shown: without its password, and without options, which may hold one too."""
    return make_url(url).set(query={}).render_as_string(hide_password=True)


def engine_for(url: str, *, pool_size: int = 20) -> AsyncEngine:
    """Make the engine for a URL, set up as durably as this service needs; nothing connects yet.

    Its errors do not quote what a statement was given: they end in the log, and that is for strangers' data.
    """
    if is_postgresql(url):
        engine = create_async_engine(
            url, pool_size=pool_size, max_overflow=0, pool_timeout=POOL_SECONDS, hide_parameters=True
        )
        _drop_closed(engine)
        _end_idle(engine)
        return engine
    engine = create_async_engine(
        url,
        pool_size=min(pool_size, SQLITE_CONNECTIONS),
        max_overflow=0,
        pool_timeout=POOL_SECONDS,
        hide_parameters=True,
    )
    _set_up_sqlite(engine)
    return engine


# SQLSTATE: connections, a server that has no more of them (or no disk), what an operator does to it, and a transaction
# that it has ended for being idle.
_AWAY = ("08", "53", "57P", "25P03")
_SQLITE_AWAY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL})


def is_away(error: BaseException) -> bool:
    """Whether an exception says that the database cannot be reached just now, or is just starting or stopping.

    Or that it is there and can do nothing for us: its connections are all in use, or its disk is full.
    """
    if isinstance(error, DBAPIError):
        state = str(getattr(error.orig, "sqlstate", None) or "")
        code = getattr(error.orig, "sqlite_errorcode", None) or 0
        return error.connection_invalidated or state.startswith(_AWAY) or code & 0xFF in _SQLITE_AWAY
    if isinstance(error, PostgresError):
        return str(error.sqlstate or "").startswith(_AWAY)
    # Nobody listens; or the driver lost its connection in the middle of something, or is just being told that it has:
    # it then says that it is busy. Or all of our own connections have been in use for POOL_SECONDS.
    return isinstance(error, OSError | InterfaceError | InternalClientError | PoolTimeoutError)


class Transaction:
    """One open transaction. Services pass it on and never look inside."""

    def __init__(
        self,
        connection: AsyncConnection | _Late,
        dialect: Dialect,
        *,
        lines: Lines | None = None,
        adapted: Any = None,
        single: bool = False,
    ) -> None:
        # A late one has of a connection what statements use.
        self.connection = cast("AsyncConnection", connection)
        self.dialect = dialect
        self.postgresql = dialect.name == "postgresql"
        self._lines = lines
        self._adapted = adapted
        self._driver: Any = None if adapted is None else adapted.driver_connection
        self.begun: Any = None
        """The driver's own transaction."""
        self._left = 1 if single else None
        """How many statements may still be executed; None: as many as you like."""
        self.rings: set[str] = set()
        """Jobs whose logs grew, executions that ended or wait: their followers are told once it is committed."""
        self.committed: list[Callable[[], None]] = []
        """What is to be called once it is committed."""

    async def begin(self) -> None:
        """Begin on the driver's own connection: PostgreSQL's."""
        begun = self._driver.transaction()
        await _known(self._driver, begun.start())
        self.begun = self._adapted._transaction = begun  # noqa: SLF001

    async def takes_several(self) -> None:
        """From now on it takes as many statements as you like, although a single one was to be all."""
        if self._left:
            await self.begin()
            self._left = None

    async def fetch(self, prepared: Prepared, *values: Mapping[str, Any]) -> Sequence[Any]:
        """All rows of a statement that was built before; its values may be in groups, see `db.prepared.in_group`."""
        if self._left is not None:
            if not self._left:
                fault = "a second statement in a transaction of a single one"
                raise RuntimeError(fault)
            self._left -= 1
        if self._lines is not None and prepared.whole:
            return await self._lines.fetch(prepared, *values)
        if self._driver is not None and prepared.whole:
            return await self._fetch_in(prepared, *values)
        result = await self.connection.execute(prepared.statement, *values)
        found: Sequence[Any] = result.all() if result.returns_rows else ()
        return found

    async def _fetch_in(self, prepared: Prepared, *values: Mapping[str, Any]) -> Sequence[Any]:
        """Execute within this transaction, on the driver's own connection."""
        compiled = prepared.compiled
        arguments = prepared.arguments(*values)
        tell(self.connection.sync_connection, compiled.text, arguments)
        try:
            records = await self._driver.fetch(compiled.text, *arguments)
        except PostgresError as error:
            raise self._as_sqlalchemy(compiled.text, error) from error
        return compiled.rows(records)

    def _as_sqlalchemy(self, text: str, error: PostgresError) -> Exception:
        """An error of the driver as every other statement of the transaction would have raised it."""
        module: Any = self.dialect.dbapi
        kinds: Any = module._asyncpg_error_translate  # noqa: SLF001
        kind = next((kinds[class_] for class_ in type(error).__mro__ if class_ in kinds), module.Error)
        translated: Exception = cast("Any", DBAPIError).instance(
            text, None, kind(str(error), error), module.Error, hide_parameters=True, dialect=self.dialect
        )
        return translated

    async def fetch_one(self, prepared: Prepared, *values: Mapping[str, Any]) -> Any:
        """The row of a statement that brings one at most; None where it brings none."""
        found = await self.fetch(prepared, *values)
        return found[0] if found else None


async def _taken(engine: AsyncEngine, kept: deque[AsyncConnection]) -> AsyncConnection:
    """A connection that was kept, if the server has not closed it meanwhile, else one of the engine's."""
    while kept:
        connection = kept.pop()
        if not cast("Any", connection.sync_connection).connection.driver_connection.is_closed():
            return connection
        await connection.close()
    return await engine.connect()


async def _known(driver: Any, changing: Awaitable[None]) -> None:
    """Begin or end a transaction. A connection of which nobody knows whether it is within one is not used again.

    Whoever is cancelled while it begins one may have begun it: the next would write into that, and nobody commit it.
    """
    try:
        await changing
    except BaseException:
        driver.terminate()
        raise


class _Driven:
    """A transaction that is begun and committed on the driver's own connection: PostgreSQL's.

    What SQLAlchemy executes within finds it begun. Its own way takes four times as long. Some of the engine's
    connections are kept for the next transaction: giving one back and taking it takes as long as all the rest.

    Where a single statement is all that is executed, PostgreSQL makes a transaction of it by itself.
    """

    # Not a generator: entering and leaving one takes longer than all that is done here besides waiting.
    __slots__ = ("_adapted", "_connection", "_engine", "_kept", "_single", "_tell", "_tx")

    _connection: AsyncConnection
    _adapted: Any
    _tx: Transaction

    def __init__(
        self, engine: AsyncEngine, kept: deque[AsyncConnection], tell: Callable[[Transaction], None], *, single: bool
    ) -> None:
        self._engine = engine
        self._kept = kept
        self._tell = tell
        self._single = single

    async def __aenter__(self) -> Transaction:
        connection = self._connection = await _taken(self._engine, self._kept)
        adapted: Any = cast("Any", connection.sync_connection).connection.dbapi_connection
        self._adapted = adapted
        self._tx = Transaction(connection, self._engine.dialect, adapted=adapted, single=self._single)
        if not self._single:
            try:
                await self._tx.begin()
            except BaseException:
                await self._drop()
                raise
        return self._tx

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None:
            await self._drop()
            return
        connection = self._connection
        try:
            if cast("Any", connection.sync_connection).in_transaction():
                await connection.commit()
            elif self._tx.begun is not None:
                await _known(self._adapted.driver_connection, self._tx.begun.commit())
                self._adapted._transaction = None  # noqa: SLF001
        except BaseException:
            await self._drop()
            raise
        pool: Any = self._engine.sync_engine.pool
        # Where all are in use somebody may wait for one, and would not see it among those that are kept.
        if len(self._kept) < (self._kept.maxlen or 0) and pool.checkedout() < pool.size():
            self._kept.append(connection)
        else:
            await connection.close()
        self._tell(self._tx)

    async def _drop(self) -> None:
        """Roll back what is left, and do not be left in the middle of that."""
        if self._adapted.driver_connection.is_closed():
            self._adapted._transaction = None  # noqa: SLF001
        await asyncio.shield(self._connection.close())


class _Late:
    """A connection that is taken once something is executed on it: where all statements are prepared, never."""

    def __init__(self, engine: AsyncEngine, kept: deque[AsyncConnection]) -> None:
        self.dialect = engine.dialect
        self._engine = engine
        self._kept = kept
        self._connection: AsyncConnection | None = None

    async def execute(self, statement: Any, parameters: Any = None) -> CursorResult[Any]:
        """Execute a statement by itself, see `prepared`."""
        if self._connection is None:
            self._connection = connection = await _taken(self._engine, self._kept)
            await connection.execution_options(isolation_level="AUTOCOMMIT")
        result: CursorResult[Any] = await self._connection.execute(statement, parameters)
        return result

    async def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            await self._connection.close()


class _Reading:
    """A transaction that is none: of single statements, each by itself."""

    __slots__ = ("_late", "_lines")

    def __init__(self, engine: AsyncEngine, kept: deque[AsyncConnection], lines: Lines) -> None:
        self._late = _Late(engine, kept)
        self._lines = lines

    async def __aenter__(self) -> Transaction:
        return Transaction(self._late, self._late.dialect, lines=self._lines)

    async def __aexit__(self, *_: object) -> None:
        await self._late.close()


class Database:
    """One database, SQLite or PostgreSQL, and its connections."""

    def __init__(
        self, engine: AsyncEngine, urgent: AsyncEngine, on_commit: Callable[[frozenset[str]], None] | None
    ) -> None:
        self.url = engine.url
        self._engine = engine
        # A connection of its own: what keeps leases must not queue behind the work that they are for.
        self._urgent = urgent
        self._on_commit = on_commit
        # SQLite has one writer at a time. Waiting here is fair and idle; its own busy handler sleeps and starves.
        self._one_writer = _OneWriter() if engine.dialect.name == "sqlite" else None
        pool: Any = engine.pool
        # Half of them: the others are for whoever asks the engine.
        self._kept = deque[AsyncConnection](maxlen=pool.size() // 2)
        self._none = deque[AsyncConnection](maxlen=0)
        self._lines = Lines(engine, READING_LINES) if engine.dialect.name == "postgresql" else None

    @classmethod
    def open(
        cls,
        url: str,
        *,
        on_commit: Callable[[frozenset[str]], None] | None = None,
        pool_size: int = 20,
    ) -> Self:
        """Open a database; nothing connects yet. `on_commit` gets the ids of the jobs whose logs a commit grew and
        of the executions that it ended or lets wait.

        Raises sqlalchemy.exc.ArgumentError for a URL that is none.
        """
        return cls(engine_for(url, pool_size=pool_size), engine_for(url, pool_size=1), on_commit)

    def begin(self, *, urgent: bool = False, single: bool = False) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction that may write; commits at the end of the block, rolls back on an exception.

        An urgent one goes before all others of this process that wait for their turn. A single one is for one chain of
        statements, which on PostgreSQL is one if it is not long, and committed as soon as that is executed: what has
        written needs no taking back.
        """
        engine, kept = (self._urgent, self._none) if urgent else (self._engine, self._kept)
        if self._one_writer is None:
            return _Driven(engine, kept, self._tell, single=single)
        return self._begin_alone(self._one_writer, engine, urgent=urgent)

    @asynccontextmanager
    async def _begin_alone(
        self, one_writer: _OneWriter, engine: AsyncEngine, *, urgent: bool
    ) -> AsyncGenerator[Transaction]:
        async with one_writer.turn(urgent=urgent), engine.connect() as connection:
            await connection.execution_options(**{WRITES: True})
            tx = Transaction(connection, connection.dialect)
            async with connection.begin():
                yield tx
        self._tell(tx)

    def _tell(self, tx: Transaction) -> None:
        """Tell of what a transaction has committed."""
        if self._on_commit is not None and tx.rings:
            self._on_commit(frozenset(tx.rings))
        for call in tx.committed:
            call()

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction that only reads; on PostgreSQL, each of its statements sees what is committed by then."""
        return self._read() if self._lines is None else _Reading(self._engine, self._kept, self._lines)

    @asynccontextmanager
    async def _read(self) -> AsyncGenerator[Transaction]:
        async with self._engine.connect() as connection, connection.begin():
            yield Transaction(connection, connection.dialect)

    def connections(self) -> Mapping[str, tuple[int, int]]:
        """By what they are for: how many connections are in use, and how many there are at most.

        One more is for leases; it is not waited for.
        """
        pool: Any = self._engine.pool
        found = {"work": (pool.checkedout() - len(self._kept), pool.size())}
        if self._lines is not None:
            found["reads"] = (self._lines.in_use, self._lines.size)
        return found

    async def close(self) -> None:
        """Close every connection."""
        if self._lines is not None:
            await self._lines.close()
        while self._kept:
            await self._kept.pop().close()
        for engine in (self._engine, self._urgent):
            await engine.dispose()
            await _silence(engine)


class _OneWriter:
    """A lock whose waiters are served in order, the urgent ones first."""

    def __init__(self) -> None:
        self._held = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def turn(self, *, urgent: bool) -> AsyncGenerator[None]:
        """Hold the lock for the block."""
        if self._held:
            await self._wait(urgent=urgent)
        self._held = True
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, *, urgent: bool) -> None:
        turn = asyncio.get_running_loop().create_future()
        if urgent:
            self._waiting.appendleft(turn)
        else:
            self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Hand the lock to the next who still waits; it stays held meanwhile, so that nobody slips in."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._held = False


def _drop_closed(engine: AsyncEngine) -> None:
    """Hand out no connection that the server has closed meanwhile: after a restart, each would fail once."""

    @event.listens_for(engine.sync_engine, "checkout")
    def look(dbapi_connection: Any, record: object, proxy: object) -> None:
        del record, proxy
        # The driver knows without asking.
        if dbapi_connection.driver_connection.is_closed():
            raise DisconnectionError


def _end_idle(engine: AsyncEngine) -> None:
    """Have the server end connections that are idle in a transaction: that rolls it back."""

    @event.listens_for(engine.sync_engine, "connect")
    def connected(dbapi_connection: Any, record: object) -> None:
        del record
        cursor = dbapi_connection.cursor()
        # Not said as it connects: poolers in between refuse what they do not know.
        cursor.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'")
        cursor.close()
        dbapi_connection.commit()


def _set_pragma(connection: sqlite3.Connection, statement: str) -> None:
    """Execute, again for up to a second where the file is locked.

    Turning WAL on takes a new file whole for a moment, and SQLite's busy handler does not wait for that: of
    processes that start together, each but one would fail.
    """
    for _ in range(100):
        try:
            connection.execute(statement)
        except sqlite3.OperationalError:
            time.sleep(0.01)
        else:
            return
    connection.execute(statement)


# Each connection of SQLite's works in a thread.
_workers: WeakKeyDictionary[Engine, WeakSet[Thread]] = WeakKeyDictionary()


async def _silence(engine: AsyncEngine) -> None:
    """Wait until no thread of a closed engine has anything to say any more.

    One whose work was cancelled, or that was still connecting, is told to stop and not waited for; what it then says to
    an event loop that has ended is an error.
    """
    for worker in list(_workers.get(engine.sync_engine, ())):
        if worker.is_alive():
            await asyncio.to_thread(worker.join, SQLITE_BUSY_SECONDS)


class _Closing(sqlite3.Connection):
    """One of which nothing is left when it is closed.

    SQLite keeps a closed connection, with its locks and with what it reads, while a statement of it is in the middle of
    its rows: of whoever was cancelled there, until that is collected.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._cursors = WeakSet[sqlite3.Cursor]()

    def cursor(self, factory: Any = sqlite3.Cursor) -> Any:
        cursor = super().cursor(factory)
        self._cursors.add(cursor)
        return cursor

    def close(self) -> None:
        for cursor in list(self._cursors):
            cursor.close()
        super().close()


class _SQLiteConnection(aiosqlite.Connection):
    """One that is closed however it was left.

    The driver's own way of closing, cancelled in its turn, may forget what it was to close; and what is still
    connecting it does not close.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        # Of the thread, which has it before anybody else.
        self._opened: list[sqlite3.Connection] = []
        super().__init__(partial(_open, self._opened, *args, **options), iter_chunk_size=64)

    def stop(self) -> asyncio.Future[Any] | None:
        """Close, behind all that is still to be executed, and end the thread."""
        if not self._running:
            return None
        self._connection = None
        cast("Any", self)._tx.put_nowait((None, partial(_close, self._opened)))  # noqa: SLF001
        stopped: asyncio.Future[Any] | None = cast("Any", super()).stop()
        return stopped

    async def close(self) -> None:
        stopped = self.stop()
        if stopped is not None:
            await stopped


def _open(opened: list[sqlite3.Connection], *args: Any, **options: Any) -> sqlite3.Connection:
    """Connect, and set up: here, in the thread, since at each step it would wait for the loop, and writers for it."""
    connection = sqlite3.connect(*args, factory=_Closing, **options)
    opened.append(connection)
    # The driver would open transactions by itself, and late: we say BEGIN ourselves, see below.
    connection.isolation_level = None
    wanted = {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL: a power cut loses no commit
        "foreign_keys": 1,
        "busy_timeout": SQLITE_BUSY_SECONDS * 1000,
    }
    for pragma, value in wanted.items():
        _set_pragma(connection, f"PRAGMA {pragma} = {value}")
        (got,) = connection.execute(f"PRAGMA {pragma}").fetchone()
        if got != value:
            message = f"SQLite does not take {pragma} = {value} here (it says {got})"
            raise RuntimeError(message)
    return connection


def _close(opened: list[sqlite3.Connection]) -> None:
    for connection in opened:
        connection.close()


def _set_up_sqlite(engine: AsyncEngine) -> None:
    """Durable, concurrent and checked: WAL, every commit on disk, foreign keys, our own BEGIN."""
    workers = _workers[engine.sync_engine] = WeakSet()

    def connect(*args: Any, **options: Any) -> aiosqlite.Connection:
        connection = _SQLiteConnection(*args, **options)
        worker = cast("Any", connection)._thread  # noqa: SLF001
        worker.daemon = True  # as SQLAlchemy has it
        workers.add(worker)
        return connection

    @event.listens_for(engine.sync_engine, "do_connect")
    def remember(dialect: object, record: object, args: object, options: dict[str, Any]) -> None:
        del dialect, record, args
        options["async_creator_fn"] = connect

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        # A writer that begins by reading would fail when it comes to write; IMMEDIATE waits its turn at the start.
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
