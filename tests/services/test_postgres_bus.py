"""The bus across processes when the database comes and goes."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from sqlalchemy import text

from db import notices
from db.session import Database
from services.events import postgres
from services.events.postgres import PostgresBus

SOON = 30.0
# What a line has asked last. It must not be what these statements have within, or they find themselves.
LINES = "pg_stat_activity WHERE datname = current_database() AND query LIKE 'SELECT pg_notify(%'"
HANG_UP = f"SELECT pg_terminate_backend(pid) FROM {LINES}"  # noqa: S608
LISTENING = f"SELECT count(*) FROM {LINES}"  # noqa: S608


@pytest.fixture
async def database(postgresql_url: str) -> AsyncGenerator[Database]:
    database = Database.open(postgresql_url)
    yield database
    await database.close()


@asynccontextmanager
async def buses(database: Database, count: int = 2) -> AsyncGenerator[list[PostgresBus]]:
    async with AsyncExitStack() as stack:
        made = [PostgresBus() for _ in range(count)]
        for bus in made:
            await stack.enter_async_context(bus.run(database))
            await asyncio.wait_for(bus.connected.wait(), SOON)
        yield made


async def until(holds: Callable[[], Awaitable[bool]] | Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while True:
            found = holds()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)


async def hang_up(database: Database, *those: PostgresBus) -> None:
    """End their connections, as a restart of the database does."""
    # The quiet line has asked something once, so that it can be told from other connections.
    for bus in those:
        bus.ring(frozenset({"job_0"}))

    async def all_have_asked() -> bool:
        async with database.read() as tx:
            return bool((await tx.connection.execute(text(LISTENING))).scalar_one() >= len(those))

    await until(all_have_asked)
    async with database.begin() as tx:
        await tx.connection.execute(text(HANG_UP))


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost connection stays away for long enough to be seen."""
    monkeypatch.setattr(postgres, "_FIRST_BACKOFF_SECONDS", 1.0)


@pytest.mark.usefixtures("unhurried")
async def test_a_ring_during_a_lost_connection_comes_once_it_is_back(database: Database) -> None:
    async with buses(database) as (one, other), other.listen("job_1") as bell:
        await hang_up(database, one, other)
        await until(lambda: not one.connected.is_set() and not other.connected.is_set())
        one.ring(frozenset({"job_1"}))
        await asyncio.wait_for(asyncio.gather(one.connected.wait(), other.connected.wait()), SOON)
        heard = 0
        # Once since nobody knows what was missed; and once for the ring itself, if that comes later.
        while await bell.wait(0.5):
            heard += 1
        assert heard >= 1

        one.ring(frozenset({"job_1"}))
        assert await bell.wait(SOON)


@pytest.mark.usefixtures("unhurried")
async def test_whoever_was_not_connected_looks_at_everything_afterwards(database: Database) -> None:
    async with buses(database) as (one, other), other.listen("job_1") as bell, other.listen(None) as bell_of_all:
        await hang_up(database, one, other)
        await until(lambda: not other.connected.is_set())

        assert await bell.wait(SOON)
        assert await bell_of_all.wait(SOON)


async def test_more_jobs_than_fit_into_one_notice_are_all_rung(database: Database) -> None:
    async with buses(database) as (one, other), AsyncExitStack() as stack:
        jobs = [f"job_{number:026}" for number in range(1_000)]
        assert sum(map(len, jobs)) > 3 * notices.LARGEST_NOTICE
        bells = [await stack.enter_async_context(other.listen(job_id)) for job_id in jobs]
        one.ring(frozenset(jobs))

        assert all(await asyncio.gather(*(bell.wait(SOON) for bell in bells)))


async def test_what_is_rung_last_before_the_end_is_told(database: Database) -> None:
    async with buses(database, 1) as (staying,), staying.listen("job_1") as bell:
        async with buses(database, 1) as (leaving,):
            leaving.ring(frozenset({"job_2"}))
            leaving.ring(frozenset({"job_1"}))

        assert await bell.wait(SOON)


async def test_followers_are_counted(database: Database) -> None:
    async with buses(database, 1) as (bus,):
        async with bus.listen("job_1"), bus.listen(None):
            assert bus.followers == 2
        assert bus.followers == 0
