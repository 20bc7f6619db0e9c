"""How many jobs there are is kept, exact at every commit, whoever writes them and whoever adds up meanwhile."""

# A package here would hide the real db from the type checker.
# ruff: noqa: INP001

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from db import job_counts, jobs
from db.models import jobs as jobs_table
from db.records import EVERYTHING, Actor, JobFilter, JobStatus, Role, Scope
from db.session import Database, Transaction
from tests.db.making import make_job, scalar

T = TypeVar("T")

ADA, BOB, CARL = (Actor(name, name.title(), Role.CLIENT) for name in ("ada", "bob", "carl"))
PENDING, ASSIGNED, COMPLETED = JobStatus.PENDING, JobStatus.ASSIGNED, JobStatus.COMPLETED

Change = tuple[str, int, int]
changes = st.lists(
    st.tuples(
        st.sampled_from(["create", "move", "move", "move all", "hand over", "delete", "roll back", "add up"]),
        st.integers(0, 4),
        st.integers(0, 4),
    ),
    min_size=1,
    max_size=12,
)


class UndoneError(Exception):
    pass


async def make(tx: Transaction, one: int, other: int) -> None:
    for number in range(one):
        await make_job(tx, owner=(ADA, BOB, CARL)[(number + other) % 3])


async def move(tx: Transaction, one: int, other: int) -> None:
    """As services do it."""
    found = (await tx.connection.execute(jobs_table.select().order_by("id").limit(1).offset(one))).one_or_none()
    job = None if found is None else await jobs.get(tx, EVERYTHING, found.id)
    if job is not None:
        status = list(JobStatus)[other]
        await jobs.change(tx, job, status=status, result={"by": "hand"} if status is COMPLETED else None)


async def move_all(tx: Transaction, one: int, other: int) -> None:
    """As somebody does it who has a prompt of the database's, and never heard of counts."""
    before, after = list(JobStatus)[one].value, list(JobStatus)[other].value
    if COMPLETED not in {before, after}:
        await tx.connection.execute(text(f"UPDATE jobs SET status = '{after}' WHERE status = '{before}'"))  # noqa: S608


async def hand_over(tx: Transaction, one: int, other: int) -> None:
    owners = ("ada", "bob", "carl", "dora", "eve")
    statement = "UPDATE jobs SET owner_id = :to WHERE owner_id = :of"
    await tx.connection.execute(text(statement), {"of": owners[one], "to": owners[other]})


async def delete(tx: Transaction, one: int, other: int) -> None:
    statement = (
        "DELETE FROM jobs WHERE id NOT IN (SELECT id FROM (SELECT id FROM jobs ORDER BY id LIMIT :kept) AS kept)"
    )
    await tx.connection.execute(text(statement), {"kept": other})


async def add_up(tx: Transaction, one: int, other: int) -> None:
    await job_counts.fold(tx, one + other)


async def undo(tx: Transaction, one: int, other: int) -> None:
    await make(tx, one, other)
    await add_up(tx, one, other)
    raise UndoneError


DONE: dict[str, Callable[[Transaction, int, int], Awaitable[None]]] = {
    "create": make,
    "move": move,
    "move all": move_all,
    "hand over": hand_over,
    "delete": delete,
    "add up": add_up,
    "roll back": undo,
}


async def do(database: Database, change: Change) -> None:
    name, one, other = change
    with suppress(UndoneError):
        async with database.begin() as tx:
            await DONE[name](tx, one, other)


def counted(found: Sequence[Any], scope: Scope, wanted: JobFilter) -> Counter[JobStatus]:
    """The same, counted one by one."""
    totals: Counter[JobStatus] = Counter()
    for owner_id, status in found:
        seen = scope.owner_id in {None, owner_id}
        if seen and status in (wanted.statuses or [status]) and owner_id in (wanted.owner_ids or [owner_id]):
            totals[JobStatus(status)] += 1
    return totals


LISTS: Sequence[tuple[Scope, JobFilter]] = [
    (EVERYTHING, JobFilter()),
    (EVERYTHING, JobFilter(statuses=(PENDING, COMPLETED))),
    (EVERYTHING, JobFilter(owner_ids=("ada",))),
    (EVERYTHING, JobFilter(owner_ids=("ada", "eve", "nobody"), statuses=(PENDING,))),
    (Scope("bob"), JobFilter()),
    (Scope("bob"), JobFilter(statuses=(ASSIGNED,))),
    (Scope("bob"), JobFilter(owner_ids=("ada",))),
    (Scope("bob"), JobFilter(owner_ids=("ada", "bob"))),
]


async def agree(database: Database) -> None:
    async with database.read() as tx:
        found = (await tx.connection.execute(text("SELECT owner_id, status FROM jobs"))).all()
        for scope, wanted in LISTS:
            expected = counted(found, scope, wanted)
            assert await jobs.counts_by_status(tx, scope, wanted) == expected
            assert await jobs.count(tx, scope, wanted) == expected.total()


class Counting:
    """A database, asked from tests that are no coroutines."""

    def __init__(self, url: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.database = Database.open(url)

    def do(self, action: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(action)


@pytest.fixture
def counting(database_url: str) -> Generator[Counting]:
    counting = Counting(database_url)
    yield counting
    counting.do(counting.database.close())
    counting.loop.close()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes)
def test_the_counts_are_those_of_a_recount_after_any_changes(counting: Counting, made: list[Change]) -> None:
    counting.do(do(counting.database, ("delete", 0, 0)))
    for change in [("create", 4, 0), *made]:
        counting.do(do(counting.database, change))
        counting.do(agree(counting.database))


async def differences(database: Database) -> int:
    """In one statement, which sees one moment: how far what is kept is from what there is."""
    async with database.begin() as tx:
        difference: int = await scalar(
            tx,
            "SELECT (SELECT count(*) FROM jobs) - (SELECT coalesce(sum(jobs), 0) FROM job_counts WHERE owner_id = '')"
            " - (SELECT coalesce(sum(change), 0) FROM job_count_changes)",
        )
    return difference


async def test_the_counts_are_exact_at_any_moment_while_many_write_and_add_up(database: Database) -> None:
    async def write(owner: Actor) -> None:
        for _ in range(8):
            async with database.begin() as tx:
                job = await make_job(tx, owner=owner)
                await jobs.change(tx, job, status=ASSIGNED)

    async def fold(limit: int) -> None:
        while not written.is_set():
            async with database.begin() as tx:
                await job_counts.fold(tx, limit)
            assert await differences(database) == 0

    written = asyncio.Event()
    folding = [asyncio.create_task(fold(limit)) for limit in (3, 7)]
    await asyncio.gather(*(write(owner) for owner in (ADA, BOB, CARL, ADA)))
    written.set()
    await asyncio.gather(*folding)
    await agree(database)


async def test_a_change_counts_when_it_is_committed(database: Database) -> None:
    async with database.begin() as tx:
        await make_job(tx, owner=ADA)
        assert await jobs.count(tx, EVERYTHING, JobFilter()) == 1
        async with database.read() as other:
            assert await jobs.count(other, EVERYTHING, JobFilter()) == 0
    async with database.read() as tx:
        assert await jobs.count(tx, EVERYTHING, JobFilter()) == 1


async def test_nobody_waits_for_who_counts_the_same_jobs(postgresql_url: str) -> None:
    database = Database.open(postgresql_url)
    async with database.begin() as tx, database.begin() as other, asyncio.timeout(30):
        for writer in (tx, other):
            await make_job(writer, owner=ADA)
    await agree(database)
    await database.close()


@pytest.mark.parametrize("wanted", [JobFilter(), JobFilter(statuses=(PENDING,)), JobFilter(owner_ids=("ada",))])
async def test_what_is_kept_is_not_counted(database: Database, wanted: JobFilter) -> None:
    async with database.begin() as tx:
        await make_job(tx, owner=ADA)
        await job_counts.fold(tx, 10)
        await tx.connection.execute(text("UPDATE job_counts SET jobs = 1000"))
        assert await jobs.count(tx, EVERYTHING, wanted) == 1000
        assert await jobs.count(tx, Scope("ada"), wanted) == 1000


@pytest.mark.parametrize("trigger", ["jobs_counted_in", "jobs_counted_on", "jobs_counted_out"])
async def test_a_trigger_that_is_gone_is_noticed(database: Database, trigger: str) -> None:
    async with database.begin() as tx:
        await make(tx, 2, 0)
        await tx.connection.execute(text(f"DROP TRIGGER {trigger}" + (" ON jobs" if tx.postgresql else "")))
    for change in (("create", 1, 0), ("move", 0, 1), ("delete", 0, 1)):
        await do(database, change)
    with pytest.raises(AssertionError):
        await agree(database)
