"""Transactions and the connections that they are on: those of PostgreSQL are kept from one to the next."""

# A package here would hide the real db from the type checker.
# ruff: noqa: INP001

import asyncio
import gc
import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any

import aiosqlite
import asyncpg
import psutil
import pytest
from sqlalchemy import literal_column, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from db.paging import prepared
from db.session import Database, Transaction, is_away
from tests.db.making import scalar


@pytest.fixture
async def database(postgresql_url: str) -> AsyncGenerator[Database]:
    database = Database.open(postgresql_url)
    yield database
    await database.close()


async def backend(database: Database) -> int:
    """The number of the server's process behind a transaction."""
    async with database.begin() as tx:
        pid: int = await scalar(tx, "SELECT pg_backend_pid()")
    return pid


async def test_a_connection_serves_one_transaction_after_the_other_and_is_in_use_in_between_for_nobody(
    database: Database,
) -> None:
    assert await backend(database) == await backend(database)
    assert database.connections()["work"] == (0, 20)


async def test_a_connection_whose_transaction_failed_is_rolled_back_before_it_is_used_again(database: Database) -> None:
    with suppress(ZeroDivisionError):
        async with database.begin() as tx:
            await scalar(tx, "SELECT txid_current()")
            raise ZeroDivisionError
    async with database.begin() as tx:
        assert await scalar(tx, "SELECT txid_current_if_assigned()") is None


@pytest.mark.parametrize("single", [False, True])
async def test_what_is_left_at_its_beginning_is_no_beginning_for_the_next(
    postgresql_url: str, single: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, other = Database.open(postgresql_url, pool_size=1), Database.open(postgresql_url)
    async with other.begin() as tx:
        await tx.connection.execute(text("CREATE TABLE kept (number integer)"))
    await backend(database)
    begun, execute = asyncio.Event(), asyncpg.Connection.execute

    async def hangs(self: Any, query: str, *given: Any, **options: Any) -> Any:
        result = await execute(self, query, *given, **options)
        if query.startswith("BEGIN"):
            begun.set()
            await asyncio.Event().wait()
        return result

    with monkeypatch.context() as patched:
        patched.setattr(asyncpg.Connection, "execute", hangs)
        leaving = asyncio.create_task(backend(database))
        await begun.wait()
        leaving.cancel()
        await asyncio.wait([leaving])
    insert = text("INSERT INTO kept VALUES (1) RETURNING number")
    async with asyncio.timeout(30), database.begin(single=single) as tx:
        await tx.fetch(prepared(tx, "a number that is kept", lambda: insert), {})

    async with other.begin() as tx:
        assert await scalar(tx, "SELECT count(*) FROM kept") == 1
        assert await scalar(tx, "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'") == 0
    await database.close()
    await other.close()


@pytest.mark.parametrize("by_sqlalchemy", [False, True])
async def test_what_is_left_at_its_end_is_no_beginning_for_the_next(
    postgresql_url: str, by_sqlalchemy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, other = Database.open(postgresql_url, pool_size=1), Database.open(postgresql_url)
    ends, execute = asyncio.Event(), asyncpg.Connection.execute

    async def hangs(self: Any, query: str, *given: Any, **options: Any) -> Any:
        if query.startswith("COMMIT"):
            ends.set()
            await asyncio.Event().wait()
        return await execute(self, query, *given, **options)

    async def work() -> None:
        async with database.begin() as tx:
            await tx.fetch(prepared(tx, "a number", lambda: text("SELECT txid_current()")), {})
            if by_sqlalchemy:
                await scalar(tx, "SELECT 1")

    with monkeypatch.context() as patched:
        patched.setattr(asyncpg.Connection, "execute", hangs)
        leaving = asyncio.create_task(work())
        await ends.wait()
        leaving.cancel()
        await asyncio.wait([leaving])
    async with asyncio.timeout(30), database.begin(single=True) as tx:
        assigned = lambda: text("SELECT txid_current_if_assigned()")  # noqa: E731
        assert (await tx.fetch_one(prepared(tx, "what is begun", assigned), {}))[0] is None
    async with other.begin() as tx:
        assert await scalar(tx, "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'") == 0
    await database.close()
    await other.close()


@pytest.mark.parametrize("goes_on", ["with a statement", "with a prepared one", "and commits"])
async def test_a_transaction_that_does_nothing_is_ended_and_holds_nobody_up(
    postgresql_url: str, goes_on: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.session.IDLE_SECONDS", 1)
    stopped, other = Database.open(postgresql_url), Database.open(postgresql_url)
    async with other.begin() as tx:
        await tx.connection.execute(text("CREATE TABLE kept AS SELECT 1 AS number"))

    async def write_and_stop() -> None:
        async with stopped.begin() as held:
            await held.connection.execute(text("UPDATE kept SET number = 2"))
            async with other.begin() as tx:
                # Waits for the row until the other one has been ended.
                await tx.connection.execute(text("UPDATE kept SET number = number + 10"))
            if goes_on == "with a statement":
                await scalar(held, "SELECT 1")
            elif goes_on == "with a prepared one":
                await held.fetch(prepared(held, "one number", lambda: select(literal_column("1").label("number"))), {})

    with pytest.raises(Exception) as caught:  # noqa: PT011  (whatever the driver makes of it)
        await write_and_stop()

    assert is_away(caught.value), repr(caught.value)
    async with stopped.begin() as tx:
        assert await scalar(tx, "SELECT number FROM kept") == 11
    await stopped.close()
    await other.close()


async def test_a_server_without_another_connection_is_away(database: Database, postgresql_url: str) -> None:
    async with database.begin() as tx:
        await tx.connection.execute(text("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0"))
    url = make_url(postgresql_url).set(username="crowded").render_as_string(hide_password=False)
    crowded = Database.open(url)
    for opening in (crowded.begin, crowded.read):
        with pytest.raises(Exception, match="too many connections") as caught:
            await _asks(opening())
        assert is_away(caught.value), repr(caught.value)
    await crowded.close()
    async with database.begin() as tx:
        await tx.connection.execute(text("DROP ROLE crowded"))


async def test_a_pool_whose_connections_are_all_in_use_for_too_long_is_away(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.session.POOL_SECONDS", 0.1)
    database = Database.open(postgresql_url, pool_size=1)
    async with database.begin():
        with pytest.raises(SQLAlchemyError) as caught:
            await _asks(database.begin())
    assert is_away(caught.value), repr(caught.value)
    await database.close()


async def test_a_file_that_another_process_writes_to_for_too_long_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.session.SQLITE_BUSY_SECONDS", 0.1)
    url = f"sqlite+aiosqlite:///{tmp_path}/kept.db"
    # Two of one process as two processes are: neither knows of the other's turn.
    one, other = Database.open(url), Database.open(url)
    async with one.begin():
        with pytest.raises(SQLAlchemyError, match="locked") as caught:
            await _asks(other.begin())
    assert is_away(caught.value), repr(caught.value)
    await one.close()
    await other.close()


async def _asks(opening: AbstractAsyncContextManager[Transaction]) -> None:
    async with opening as tx:
        statement = prepared(tx, "something small", lambda: select(literal_column("1").label("number")))
        await tx.fetch(statement, {})


async def test_a_connection_that_the_server_has_closed_is_replaced(database: Database, postgresql_url: str) -> None:
    before = await backend(database)
    other = Database.open(postgresql_url)
    async with other.begin() as tx:
        assert await scalar(tx, "SELECT pg_terminate_backend(:pid)", pid=before)
    await other.close()
    after = before
    async with asyncio.timeout(30):
        while after == before:
            try:
                after = await backend(database)
            except Exception as error:
                # Whatever the driver raises until it has noticed.
                if not is_away(error):
                    raise
                await asyncio.sleep(0.01)
    assert after != before


@pytest.mark.parametrize("way", ["begin", "read"])
async def test_whoever_waits_for_a_connection_gets_the_first_that_is_free(postgresql_url: str, way: str) -> None:
    database = Database.open(postgresql_url, pool_size=4)

    all_in_use = asyncio.Barrier(5)

    async def work(until: asyncio.Event) -> None:
        async with database.begin():
            await all_in_use.wait()
            await until.wait()

    async def waits() -> None:
        async with getattr(database, way)() as tx:
            await scalar(tx, "SELECT 1")

    ends = [asyncio.Event() for _ in range(4)]
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        tasks = [group.create_task(work(end)) for end in ends]
        await all_in_use.wait()
        waiting = group.create_task(waits())
        await asyncio.sleep(0.05)
        ends[0].set()
        await waiting
        # One that nobody wanted is kept, and is there for whoever comes.
        ends[1].set()
        await tasks[1]
        await waits()
        for end in ends:
            end.set()
    await database.close()


@pytest.mark.parametrize("again", [None, *range(5)])
async def test_whoever_leaves_a_transaction_of_sqlite_leaves_no_lock_and_nothing_that_is_read(
    tmp_path: Path, again: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "signoff.db"
    database, calls_left = Database.open(f"sqlite+aiosqlite:///{path}"), 0
    execute: Any = aiosqlite.Connection._execute  # noqa: SLF001
    async with database.begin() as tx:
        await tx.connection.execute(text("CREATE TABLE kept (number integer)"))

    async def leaves(self: Any, function: Any, *given: Any, **options: Any) -> Any:
        nonlocal calls_left
        calls_left -= 1
        if calls_left == 0:
            cancel(writing, again)
        return await execute(self, function, *given, **options)

    def cancel(task: asyncio.Task[None], turns: int | None) -> None:
        """Cancel it now, and once more after some turns of the loop."""
        task.cancel()
        if turns is not None:
            after(turns, task.cancel)

    def after(turns: int, call: Callable[[], object]) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(after, turns - 1, call)
        else:
            asyncio.get_running_loop().call_soon(call)

    async def write() -> None:
        async with database.begin() as tx:
            await tx.connection.execute(text("INSERT INTO kept VALUES (1), (2) RETURNING number"))
            await tx.connection.execute(text("SELECT * FROM kept"))

    monkeypatch.setattr(aiosqlite.Connection, "_execute", leaves)
    other = sqlite3.connect(path, isolation_level=None, timeout=5, check_same_thread=False)
    # Nothing may be left for when garbage is collected.
    gc.disable()
    try:
        calls, writing = 0, asyncio.create_task(asyncio.sleep(0))
        while calls == 0 or writing.cancelled():
            calls_left = calls = calls + 1
            writing = asyncio.create_task(write())
            await asyncio.wait([writing])
            await asyncio.to_thread(other.executescript, "BEGIN IMMEDIATE; INSERT INTO kept VALUES (3); COMMIT")
            # Whatever is read keeps the log of what was written from beginning anew.
            kept_from_it = await asyncio.to_thread(other.execute, "PRAGMA wal_checkpoint(TRUNCATE)")
            assert kept_from_it.fetchone() == (0, 0, 0)
    finally:
        gc.enable()
        other.close()
        await database.close()
    # It was left at each call of the driver: two that take a cursor, execute, fetch and close it, at least.
    assert calls > 10


async def test_whoever_leaves_while_sqlite_connects_leaves_no_connection(tmp_path: Path) -> None:
    path = tmp_path / "signoff.db"
    database = Database.open(f"sqlite+aiosqlite:///{path}")

    async def read() -> None:
        async with database.read():
            pass

    gc.disable()
    try:
        reading = asyncio.create_task(read())
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading])
        await database.close()
        assert str(path) not in {file.path for file in psutil.Process().open_files()}
    finally:
        gc.enable()
    assert path.exists()


def test_a_thread_of_sqlite_says_nothing_to_a_loop_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda found: said.append(found.exc_value))

    async def cancelled_after(turns: int) -> None:
        database = Database.open(f"sqlite+aiosqlite:///{tmp_path / str(turns)}.db")

        async def read() -> None:
            async with database.read() as tx:
                await scalar(tx, "SELECT 1")

        reading = asyncio.create_task(read())
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading])
        await database.close()

    # Wherever it is: connecting, setting up the connection, beginning, reading, ending.
    for turns in range(60):
        asyncio.run(cancelled_after(turns))

    assert said == []
