"""What every event bus must do. An adapter joins by its name in the fixture's list."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import pytest

from db.session import Database
from services.events.in_memory import InMemoryBus
from services.events.postgres import PostgresBus
from services.ports import Bell, EventBus

# A bus across processes may be late, so a ring is waited for much longer than its absence.
SOON = 30.0
NOT = 0.1


class Across:
    """Two processes' buses as one: the one is rung, the other one is listened to."""

    def __init__(self, one: EventBus, other: EventBus) -> None:
        self._one, self._other = one, other

    def ring(self, ids: frozenset[str]) -> None:
        self._one.ring(ids)

    def ring_all(self) -> None:
        self._other.ring_all()

    def listen(self, id_: str | None) -> AbstractAsyncContextManager[Bell]:
        return self._other.listen(id_)


@pytest.fixture(params=["in_memory", "postgres", "across processes"])
def kind(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Which bus, and the database that it needs."""
    name: str = request.param
    return name, "" if name == "in_memory" else request.getfixturevalue("postgresql_url")


@pytest.fixture
async def bus(kind: tuple[str, str]) -> AsyncGenerator[EventBus]:
    name, url = kind
    if name == "in_memory":
        yield InMemoryBus()
        return
    async with AsyncExitStack() as stack:
        database = Database.open(url)
        stack.push_async_callback(database.close)
        here, there = PostgresBus(), PostgresBus()
        for one in (here, there):
            await stack.enter_async_context(one.run(database))
            await asyncio.wait_for(one.connected.wait(), SOON)
        yield here if name == "postgres" else Across(here, there)


async def test_a_follower_hears_its_job(bus: EventBus) -> None:
    async with bus.listen("job_1") as bell:
        bus.ring(frozenset({"job_1", "job_2"}))

        assert await bell.wait(SOON)


async def test_a_follower_that_waits_already_hears_it(bus: EventBus) -> None:
    async with bus.listen("job_1") as bell:
        waiting = asyncio.create_task(bell.wait(SOON))
        await asyncio.sleep(0)
        bus.ring(frozenset({"job_1"}))

        assert await waiting


async def test_every_follower_of_a_process_hears_when_all_are_rung(bus: EventBus) -> None:
    async with bus.listen("job_1") as bell, bus.listen(None) as of_all:
        bus.ring_all()

        assert await bell.wait(SOON)
        assert await of_all.wait(SOON)


async def test_a_follower_does_not_hear_other_jobs(bus: EventBus) -> None:
    async with bus.listen("job_1") as bell:
        bus.ring(frozenset({"job_2"}))
        bus.ring(frozenset())

        assert not await bell.wait(NOT)


async def test_a_follower_of_all_jobs_hears_each(bus: EventBus) -> None:
    async with bus.listen(None) as bell:
        for job_id in ("job_1", "job_2"):
            bus.ring(frozenset({job_id}))

            assert await bell.wait(SOON)


async def test_many_rings_between_two_waits_are_one(bus: EventBus) -> None:
    async with bus.listen("job_1") as bell:
        for _ in range(10_000):
            bus.ring(frozenset({"job_1"}))

        assert await bell.wait(SOON)
        # A bus across processes may ring once more for what came while it rang.
        heard = [await bell.wait(NOT) for _ in range(3)]
        assert not heard[-1]


async def test_every_follower_of_a_job_hears(bus: EventBus) -> None:
    async with bus.listen("job_1") as one, bus.listen("job_1") as other:
        bus.ring(frozenset({"job_1"}))

        assert await one.wait(SOON)
        assert await other.wait(SOON)


async def test_followers_come_and_go_while_the_others_hear_on(bus: EventBus) -> None:
    async with bus.listen("job_1") as staying:
        async with bus.listen("job_1"):
            pass
        bus.ring(frozenset({"job_1"}))
        assert await staying.wait(SOON)

        waiting = asyncio.create_task(staying.wait(SOON))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        bus.ring(frozenset({"job_1"}))
        assert await staying.wait(SOON)


async def test_ringing_without_followers_leaves_nothing_behind(bus: EventBus) -> None:
    bus.ring(frozenset({"job_1"}))

    async with bus.listen("job_1") as bell:
        # Across processes it may still be under way.
        heard = [await bell.wait(NOT) for _ in range(2)]
        assert not heard[-1]
