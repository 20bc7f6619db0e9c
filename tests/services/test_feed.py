"""Following the log live: each event once, in order, none missed, whoever commits in whatever order."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from db import jobs as job_rows
from db.records import JobLog, JobLogType, LogEntry
from db.session import Database
from services.cursors import log_cursor
from services.events.in_memory import InMemoryBus
from services.feed import Feed
from services.journal import Journal
from services.redaction import Redaction
from services.refusals import BadRequestError
from tests.services.conftest import ADMIN, CLIENT, STRANGER, House, OpenHouse


async def take(events: AsyncGenerator[JobLog], count: int) -> list[int]:
    """The numbers of the next so many events."""
    numbers: list[int] = []
    async for entry in events:
        numbers.append(entry.seq)
        if len(numbers) == count:
            break
    return numbers


async def test_without_a_cursor_a_follower_sees_what_comes_from_now_on(house: House) -> None:
    job = await house.job(None)
    async with aclosing(house.container.feed.follow(CLIENT, job.id, None)) as events:
        waiting = asyncio.create_task(take(events, 1))
        await house.until_they_wait(1)
        await house.container.jobs.force_resubmission(ADMIN, job.id, "Look again.")
        async with asyncio.timeout(30):
            (seq,) = await waiting
        assert seq == (await house.log(job))[1].seq


async def test_query_then_subscribe_after_the_feeds_cursor_loses_nothing(house: House) -> None:
    first = await house.job(None)
    cursor = await house.container.feed.cursor()
    second = await house.job(None)
    async with asyncio.timeout(30), aclosing(house.container.feed.follow(CLIENT, None, cursor)) as events:
        (seq,) = await take(events, 1)
    assert seq == (await house.log(second))[0].seq > (await house.log(first))[0].seq


async def test_a_follower_of_all_jobs_sees_its_own_and_an_admin_everybodys(house: House) -> None:
    cursor = await house.container.feed.cursor()
    jobs = [await house.job(None, viewer=viewer) for viewer in (CLIENT, STRANGER, CLIENT)]
    own = [(await house.log(job))[0].seq for job in jobs]
    async with asyncio.timeout(30):
        async with aclosing(house.container.feed.follow(CLIENT, None, cursor)) as events:
            assert await take(events, 2) == [own[0], own[2]]
        async with aclosing(house.container.feed.follow(ADMIN, None, cursor)) as events:
            assert await take(events, 3) == own


@pytest.mark.parametrize("cursor", ["", "x", "WyJsIiwiMSJd", "WyJsIiwxLDJd", "WyJqIiwxXQ", "9" * 300])
async def test_a_malformed_cursor_is_said_to_be_one(house: House, cursor: str) -> None:
    job = await house.job(None)
    with pytest.raises(BadRequestError, match="cursor"):
        await take(house.container.feed.follow(CLIENT, job.id, cursor), 1)


async def test_a_lost_ring_costs_a_poll_not_an_event(open_house: OpenHouse) -> None:
    async with open_house() as house, open_house() as other:
        job = await house.job(None)
        async with asyncio.timeout(30), aclosing(house.container.feed.follow(CLIENT, job.id, None)) as events:
            waiting = asyncio.create_task(take(events, 1))
            await house.until_they_wait(1)
            # The other process's bus does not ring here.
            await other.container.jobs.force_resubmission(ADMIN, job.id, "Look again.")
            assert len(await waiting) == 1


async def test_three_followers_of_ten_thousand_events_by_concurrent_writers_each_see_each_once_in_order(
    postgresql_url: str,
) -> None:
    bus = InMemoryBus()
    database = Database.open(postgresql_url, on_commit=bus.ring)
    journal = Journal(Redaction())
    feed = Feed(database, bus, poll_seconds=0.2)
    entry = LogEntry(type=JobLogType.JOB_EDIT, message="Edited")
    jobs = 8
    each = 10_000 // jobs
    try:
        made = []
        for index in range(jobs):
            async with database.begin() as tx:
                job = await job_rows.create(
                    tx,
                    job_id=f"job_{index:026d}",
                    owner=CLIENT.actor,
                    title="A job",
                    description="",
                    input={},
                    acceptance_criteria=(),
                )
                await journal.append(tx, job, entry)
            made.append(job)
        start = await feed.cursor()
        watched = made[0]

        async def write(job_id: str, seed: int) -> None:
            dice = random.Random(seed)
            left = each
            while left:
                # Long and short transactions, so that numbers are committed out of their order.
                size = min(left, dice.choice((1, 1, 5, 20)))
                async with database.begin() as tx:
                    job = await job_rows.lock(tx, job_id)
                    assert job is not None
                    for _ in range(size):
                        await journal.append(tx, job, entry)
                        if dice.random() < 0.02:
                            await asyncio.sleep(0.005)
                left -= size

        async def resume_in_pieces() -> list[int]:
            """All jobs again, but leaving every few hundred events and resuming from the last cursor."""
            cursor, numbers = start, list[int]()
            while len(numbers) < jobs * each:
                wanted = min(700, jobs * each - len(numbers))
                async with aclosing(feed.follow(ADMIN, None, cursor)) as events:
                    numbers += await take(events, wanted)
                cursor = log_cursor(numbers[-1])
            return numbers

        async with asyncio.timeout(120):
            async with (
                aclosing(feed.follow(ADMIN, None, start)) as all_jobs,
                aclosing(feed.follow(CLIENT, watched.id, start)) as one_job,
            ):
                results = await asyncio.gather(
                    take(all_jobs, jobs * each),
                    take(one_job, each),
                    resume_in_pieces(),
                    *(write(job.id, seed) for seed, job in enumerate(made)),
                )
        everything, watched_only, resumed = results[:3]
        assert everything is not None
        assert watched_only is not None
        assert everything == sorted(set(everything))
        assert len(everything) == jobs * each
        assert resumed == everything
        assert watched_only == sorted(set(watched_only))
        assert set(watched_only) < set(everything)
    finally:
        await database.close()
