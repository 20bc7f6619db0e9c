"""The feed's order: within a job the order of commits; across jobs nothing appears behind the watermark."""

# A package here would hide the real db from the type checker.
# ruff: noqa: INP001

import asyncio
from contextlib import suppress

import pytest

from db import feed, jobs, logs
from db.records import EVERYTHING, WITHOUT_PAYLOAD, Job, JobLogFilter, Page
from db.session import Database
from tests.db.making import make_job, make_log


class RolledBackError(Exception):
    """Ends a transaction."""


@pytest.fixture
async def two_jobs(database: Database) -> tuple[Job, Job]:
    async with database.begin() as tx:
        return await make_job(tx), await make_job(tx)


async def watermark(database: Database) -> int:
    async with database.read() as tx:
        return await feed.watermark(tx)


async def seqs(database: Database, after: int = 0) -> list[int]:
    """What a follower of all jobs would read now."""
    async with database.read() as tx:
        up_to = await feed.watermark(tx)
        return [entry.seq for entry in await logs.after(tx, EVERYTHING, after, limit=1000, up_to=up_to)]


async def append(database: Database, job: Job) -> None:
    async with database.begin() as tx:
        await jobs.lock(tx, job.id)
        await make_log(tx, job)


async def test_an_empty_log_stands_at_zero_and_then_at_its_newest_entry(database: Database) -> None:
    assert await watermark(database) == 0
    async with database.begin() as tx:
        job = await make_job(tx)
        await make_log(tx, job)
        await make_log(tx, job)
    assert await watermark(database) == 2
    assert await seqs(database) == [1, 2]


@pytest.mark.parametrize("commits", [True, False], ids=["commits", "rolls back"])
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_later_commit_is_not_shown_before_an_earlier_number_is_settled(
    database: Database, two_jobs: tuple[Job, Job], *, commits: bool
) -> None:
    slow, quick = two_jobs
    with suppress(RolledBackError):
        async with database.begin() as tx:
            await jobs.lock(tx, slow.id)
            await make_log(tx, slow)  # draws 1, and stays open
            await append(database, quick)  # draws 2, and is committed
            assert await watermark(database) == 0
            assert await seqs(database) == []
            if not commits:
                raise RolledBackError
    assert await watermark(database) == 2
    assert await seqs(database) == ([1, 2] if commits else [2])


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_an_announcement_holds_back_even_before_a_number_is_drawn(
    database: Database, two_jobs: tuple[Job, Job]
) -> None:
    slow, quick = two_jobs
    await append(database, quick)
    async with database.begin() as tx:
        await jobs.lock(tx, slow.id)
        await append(database, quick)
        assert await watermark(database) == 1
        await make_log(tx, slow)
        assert await seqs(database) == [1]
    assert await seqs(database) == [1, 2, 3]


async def test_a_follower_of_all_jobs_sees_each_entry_once_and_in_order(database: Database) -> None:
    async with database.begin() as tx:
        made = [await make_job(tx) for _ in range(6)]
    seen: list[int] = []
    writing = asyncio.gather(*(append(database, job) for _ in range(10) for job in made))
    while not writing.done():
        seen += await seqs(database, seen[-1] if seen else 0)
    await writing
    seen += await seqs(database, seen[-1] if seen else 0)
    assert seen == sorted(set(seen))
    async with database.read() as tx:
        assert len(seen) == await logs.count(tx, EVERYTHING, JobLogFilter()) == 60


async def test_a_jobs_entries_are_numbered_in_the_order_of_their_commits(database: Database) -> None:
    async with database.begin() as tx:
        job = await make_job(tx)
    committed: list[str] = []

    async def write(n: int) -> None:
        async with database.begin() as tx:
            await jobs.lock(tx, job.id)
            await asyncio.sleep(0.001 * (n % 3))
            committed.append(await make_log(tx, job))  # under the lock: nobody comes between this and the commit

    await asyncio.gather(*(write(n) for n in range(25)))
    async with database.read() as tx:
        (page,) = await logs.of_jobs(tx, EVERYTHING, [job.id], JobLogFilter(), Page(100), WITHOUT_PAYLOAD)
        assert await logs.newest(tx, job.id) == page.rows[-1].seq
    assert [entry.id for entry in page.rows] == committed
