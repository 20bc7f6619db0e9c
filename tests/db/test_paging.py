"""Keyset pages: whatever is asked for, each row once and in order; and the indexes that they are read from."""

# A package here would hide the real db from the type checker.
# ruff: noqa: INP001

import re
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, event, insert, text

from db import agents, executions, jobs, logs, validations
from db.models import executions as execution_table
from db.models import job_logs as log_table
from db.models import jobs as job_table
from db.records import (
    EVERYTHING,
    WHOLE_ENTRY,
    Actor,
    JobFilter,
    JobLogFilter,
    JobLogType,
    JobOrderField,
    JobStatus,
    OrderDirection,
    Page,
    PageOf,
    Role,
    Scope,
)
from db.session import Database, Transaction
from tests.db.making import OWNER, make_agent, make_execution, make_job, make_log, scalar

Position: TypeAlias = "tuple[str | int | datetime, ...]"
Ask: TypeAlias = Callable[[Transaction, Page], Awaitable[PageOf[Any]]]
OTHER = Actor("olga", "Olga", Role.CLIENT)
JOBS = 11
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Listing:
    """A list under test: how a page of it is asked for, and a row's position."""

    ask: Ask
    position: Callable[[Any], Position]


def _jobs(field: JobOrderField, direction: OrderDirection, scope: Scope = EVERYTHING) -> Listing:
    return Listing(
        lambda tx, page: jobs.page(tx, scope, JobFilter(), field, direction, page),
        lambda job: (getattr(job, field.value), job.id),
    )


async def _first_job(tx: Transaction) -> str:
    job_id: str = await scalar(tx, "SELECT min(job_id) FROM executions")
    return job_id


async def _executions(tx: Transaction, page: Page) -> PageOf[Any]:
    return (await executions.of_jobs(tx, EVERYTHING, [await _first_job(tx)], page))[0]


async def _logs(tx: Transaction, page: Page) -> PageOf[Any]:
    return (await logs.of_jobs(tx, EVERYTHING, [await _first_job(tx)], JobLogFilter(), page, WHOLE_ENTRY))[0]


LISTS = {
    **{
        f"jobs by {field.value} {direction.value}": _jobs(field, direction)
        for field in JobOrderField
        for direction in OrderDirection
    },
    "jobs of an owner": _jobs(JobOrderField.CREATED_AT, OrderDirection.DESC, Scope(OWNER.id)),
    "agents": Listing(
        lambda tx, page: agents.page(tx, page, only_enabled=False), lambda agent: (agent.created_at, agent.id)
    ),
    "all logs": Listing(
        lambda tx, page: logs.page(tx, EVERYTHING, JobLogFilter(), page, WHOLE_ENTRY), lambda entry: (entry.seq,)
    ),
    "a job's logs": Listing(_logs, lambda entry: (entry.seq,)),
    "a job's executions": Listing(_executions, lambda execution: (execution.number,)),
}


async def finish_all(tx: Transaction) -> None:
    await tx.connection.execute(
        text("UPDATE executions SET state = 'finished', outcome = 'rejected', finished_at = queued_at")
    )


@pytest.fixture
async def filled(database: Database) -> Database:
    """Jobs of two owners, some of one moment, each with executions and log entries, in turn; and agents."""
    async with database.begin() as tx:
        made = [await make_agent(tx) for _ in range(4)]
        listed = [await make_job(tx, made[0], OTHER if n % 3 == 0 else OWNER) for n in range(JOBS)]
        for _ in range(4):
            for job in listed[:3]:
                run = await make_execution(tx, job, made[0])
                await make_log(tx, job, execution_id=run.execution.id)
                await make_log(tx, job)
            await finish_all(tx)
        for column, moments in (("created_at", 3), ("updated_at", 4)):
            for n, job in enumerate(listed):
                values = {"at": NOON + timedelta(microseconds=n * 7 % moments), "id": job.id}
                statement = job_table.update().where(job_table.c.id == job.id).values({column: values["at"]})
                await tx.connection.execute(statement)
    return database


async def everything(tx: Transaction, listing: Listing) -> Sequence[Any]:
    page = await listing.ask(tx, Page(100))
    assert not page.has_next
    return page.rows


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
async def test_every_page_size_yields_each_row_once(filled: Database, *, backward: bool) -> None:
    for listing in LISTS.values():
        await _walk(filled, listing, backward=backward)


async def _walk(filled: Database, listing: Listing, *, backward: bool) -> None:
    async with filled.read() as tx:
        rows = await everything(tx, listing)
        assert len(rows) >= 4
        positions = [listing.position(row) for row in rows]
        assert positions in (sorted(positions), sorted(positions, reverse=True))
        for size in range(1, len(rows) + 2):
            walked: list[Any] = []
            page = Page(size, backward=backward)
            while True:
                found = await listing.ask(tx, page)
                assert len(found.rows) == min(size, len(rows) - len(walked))
                walked = [*found.rows, *walked] if backward else [*walked, *found.rows]
                if not (found.has_previous if backward else found.has_next):
                    break
                edge = listing.position(found.rows[0 if backward else -1])
                page = replace(page, before=edge) if backward else replace(page, after=edge)
            assert walked == list(rows)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    name=st.sampled_from(sorted(LISTS)),
    limit=st.integers(1, 14),
    after=st.none() | st.integers(0, 10),
    before=st.none() | st.integers(0, 10),
    backward=st.booleans(),
)
async def test_a_page_is_the_slice_between_its_cursors(
    filled: Database, name: str, limit: int, after: int | None, before: int | None, *, backward: bool
) -> None:
    listing = LISTS[name]
    async with filled.read() as tx:
        rows = await everything(tx, listing)
        after = None if after is None else after % len(rows)
        before = None if before is None else before % len(rows)
        between = rows[0 if after is None else after + 1 : before]
        page = Page(
            limit,
            backward=backward,
            after=None if after is None else listing.position(rows[after]),
            before=None if before is None else listing.position(rows[before]),
        )
        found = await listing.ask(tx, page)
    wanted = between[-limit:] if backward else between[:limit]
    more = len(between) > limit
    assert list(found.rows) == list(wanted)
    assert found.has_next == (before is not None if backward else more)
    assert found.has_previous == (more if backward else after is not None)


@pytest.mark.parametrize("direction", OrderDirection)
async def test_a_walk_is_stable_while_rows_are_inserted(filled: Database, direction: OrderDirection) -> None:
    listing = _jobs(JobOrderField.CREATED_AT, direction)
    async with filled.read() as tx:
        before = [job.id for job in await everything(tx, listing)]
    walked: list[str] = []
    page = Page(2)
    while True:
        async with filled.begin() as tx:
            found = await listing.ask(tx, page)
            await make_job(tx)
        walked += [job.id for job in found.rows]
        page = replace(page, after=listing.position(found.rows[-1]))
        if not found.has_next or len(walked) > 3 * JOBS:
            break
    assert [job_id for job_id in walked if job_id in before] == before
    assert len(set(walked)) == len(walked)


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
async def test_many_parents_get_each_their_own_page_in_one_statement(filled: Database, *, backward: bool) -> None:
    async with filled.begin() as tx:
        parents = list((await tx.connection.execute(text("SELECT id FROM jobs ORDER BY id DESC"))).scalars())
        parents.insert(2, "job_unknown")
        for size in (1, 2, 3, 4, 5, 100):
            page = Page(size, backward=backward)
            with recorded(tx) as statements:
                runs = await executions.of_jobs(tx, EVERYTHING, parents, page)
                entries = await logs.of_jobs(tx, EVERYTHING, parents, JobLogFilter(), page, WHOLE_ENTRY)
                judged = await validations.of_executions(tx, EVERYTHING, parents, page)
            assert len(statements) == 3
            alone_runs = [(await executions.of_jobs(tx, EVERYTHING, [job], page))[0] for job in parents]
            alone_entries = [
                (await logs.of_jobs(tx, EVERYTHING, [job], JobLogFilter(), page, WHOLE_ENTRY))[0] for job in parents
            ]
            assert runs == alone_runs
            assert entries == alone_entries
            assert not any(found.rows for found in judged)
            for parent, found in zip(parents, runs, strict=True):
                assert {run.job_id for run in found.rows} <= {parent}
        all_runs = await executions.of_jobs(tx, EVERYTHING, parents, Page(100))
        assert await executions.count_of_jobs(tx, EVERYTHING, parents) == [len(page.rows) for page in all_runs]
        assert [[run.number for run in page.rows] for page in all_runs if page.rows] == [[1, 2, 3, 4]] * 3


async def test_a_scope_hides_others_rows_by_every_path(filled: Database) -> None:
    mine, theirs = Scope(OWNER.id), Scope(OTHER.id)
    async with filled.read() as tx:
        of_other = (await tx.connection.execute(text("SELECT job_id FROM executions JOIN jobs ON jobs.id = job_id"
                                                     " WHERE owner_id = 'olga'"))).scalars().first()  # fmt: skip
        assert of_other is not None
        everything_else = JobLogFilter()
        assert (await executions.of_jobs(tx, mine, [of_other], Page(9)))[0].rows == ()
        assert (await logs.of_jobs(tx, mine, [of_other], everything_else, Page(9), WHOLE_ENTRY))[0].rows == ()
        assert await executions.count_of_jobs(tx, mine, [of_other]) == [0]
        assert await logs.count_of_jobs(tx, mine, [of_other], everything_else) == [0]
        assert await jobs.get_many(tx, mine, [of_other]) == [None]
        runs = (await executions.of_jobs(tx, theirs, [of_other], Page(9)))[0].rows
        assert len(runs) == 4
        assert await executions.get_many(tx, mine, [runs[0].id]) == [None]
        entries = (await logs.of_executions(tx, theirs, [runs[0].id], everything_else, Page(9), WHOLE_ENTRY))[0].rows
        assert len(entries) == 1
        assert await logs.get_many(tx, mine, [entries[0].id], WHOLE_ENTRY) == [None]
        assert await logs.payloads(tx, mine, [entries[0].id]) == [None]


async def test_counts_are_those_of_the_lists(filled: Database) -> None:
    async with filled.read() as tx:
        assert await jobs.count(tx, EVERYTHING, JobFilter()) == JOBS
        assert await jobs.count(tx, Scope(OTHER.id), JobFilter()) == 4
        assert await jobs.count(tx, EVERYTHING, JobFilter(statuses=(JobStatus.PENDING,))) == 0
        assert await jobs.counts_by_status(tx, EVERYTHING, JobFilter()) == {JobStatus.ASSIGNED: JOBS}
        assert await agents.count(tx, only_enabled=False) == 4
        assert await agents.count(tx, only_enabled=True) == 4
        assert await logs.count(tx, EVERYTHING, JobLogFilter()) == 24
        assert await logs.count(tx, EVERYTHING, JobLogFilter(types=(JobLogType.JOB_EDIT,))) == 24
        assert await logs.count(tx, EVERYTHING, JobLogFilter(types=(JobLogType.ADMIN_ACTION,))) == 0


ODD_IDS = ["", '"', "\\", '","', "x\0", "\ud800", "é", "job_" + "z" * 5000]


async def test_what_is_no_id_is_the_id_of_nothing(filled: Database) -> None:
    async with filled.read() as tx:
        assert await jobs.get_many(tx, EVERYTHING, ODD_IDS) == [None] * len(ODD_IDS)
        assert await executions.get_many(tx, EVERYTHING, ODD_IDS) == [None] * len(ODD_IDS)
        pages = await logs.of_jobs(tx, EVERYTHING, ODD_IDS, JobLogFilter(), Page(5), WHOLE_ENTRY)
        assert [page.rows for page in pages] == [()] * len(ODD_IDS)
        for odd in ODD_IDS:
            assert await jobs.get_many(tx, EVERYTHING, [odd]) == [None]
            assert await logs.of_jobs(tx, EVERYTHING, [odd], JobLogFilter(), Page(5), WHOLE_ENTRY) == pages[:1]
            assert await logs.count_of_jobs(tx, EVERYTHING, [odd], JobLogFilter()) == [0]


@pytest.mark.parametrize("number", [-(2**63), -1, 0, 2**31, 2**63 - 1])
async def test_a_position_may_lie_far_outside_of_the_list(filled: Database, number: int) -> None:
    async with filled.read() as tx:
        for ask in (_executions, _logs):
            after = await ask(tx, Page(100, after=(number,)))
            before = await ask(tx, Page(100, before=(number,)))
            rows = (await ask(tx, Page(100))).rows
            assert (after.rows, before.rows) == (((), rows) if number > 0 else (rows, ()))


# ------------------------------------------------------------------------------------------------------------- indexes


@contextmanager
def recorded(tx: Transaction) -> Generator[list[tuple[str, Any]]]:
    """Collect (statement, parameters) of what the transaction executes."""
    found: list[tuple[str, Any]] = []

    def note(*args: Any) -> None:
        found.append((args[2], args[3]))

    connection = tx.connection.sync_connection
    assert connection is not None
    event.listen(connection, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(connection, "before_cursor_execute", note)


async def plan(tx: Transaction, ask: Awaitable[Any]) -> str:
    """How the database reads for the last statement of this."""
    with recorded(tx) as statements:
        await ask
    statement, parameters = statements[-1]
    explain = "EXPLAIN (COSTS OFF)" if tx.postgresql else "EXPLAIN QUERY PLAN"

    def explained(connection: Connection) -> str:
        rows = connection.exec_driver_sql(f"{explain} {statement}", parameters).all()
        return "\n".join(str(row[-1]) for row in rows)

    return await tx.connection.run_sync(explained)


MANY = 3000
# An agent has few slots, which are read whole; a list of ids is a table too.
SCANS_A_TABLE = re.compile(r"Seq Scan on (jobs|executions|job_logs)|SCAN (jobs|executions|job_logs|part)(?! USING)")


async def fill(tx: Transaction) -> None:
    """Enough rows, of owners enough, that reading all of them costs more than an index."""
    agent = await make_agent(tx)
    template = await make_job(tx, agent)
    run = await make_execution(tx, template, agent)
    job_row, run_row = [
        (await tx.connection.execute(table.select())).one()._asdict() for table in (job_table, execution_table)
    ]
    times = [NOON + timedelta(seconds=n) for n in range(MANY)]
    statuses = [*(status.value for status in JobStatus if status is not JobStatus.COMPLETED)]
    await tx.connection.execute(
        insert(job_table),
        [
            job_row
            | {"id": f"job_{n}", "owner_id": f"owner {n % 100}", "created_at": time, "updated_at": time}
            | {"status": statuses[n % 37] if n % 37 < len(statuses) else "pending"}
            for n, time in enumerate(times)
        ],
    )
    done = {"state": "finished", "outcome": "rejected", "claimable_at": None}
    await tx.connection.execute(
        insert(execution_table),
        [
            run_row
            | {"id": f"exe_{n}", "job_id": f"job_{n}", "number": 1, "finished_at": time}
            | (done if n % 20 else {"finished_at": None, "lease_owner": f"process {n % 3}"})
            for n, time in enumerate(times)
        ],
    )
    entry = {"message": "m", "actor_name": "a", "payload_state": "stored", "payload_bytes": 0, "status": "ok"}
    await tx.connection.execute(
        insert(log_table),
        [
            entry
            | {"id": f"log_{n}", "job_id": f"job_{n % 600}", "owner_id": f"owner {n % 100}", "timestamp": NOON}
            | {"execution_id": f"exe_{n % 600}", "type": "status_change" if n % 9 == 0 else "job_edit"}
            | {"to_status": "pending" if n % 9 == 0 else None}
            for n in range(3 * MANY)
        ],
    )
    assert run.execution.id


async def test_the_lists_that_people_and_processes_read_all_the_time_use_an_index(database: Database) -> None:
    owner = Scope("owner 7")
    first = Page(20, after=(NOON + timedelta(hours=1), "job_9"))
    newest = (OrderDirection.DESC, first)
    of_jobs = [f"job_{n}" for n in range(20)]
    of_runs = [f"exe_{n}" for n in range(20)]
    async with database.begin() as tx:
        await fill(tx)
        await tx.connection.execute(text("ANALYZE"))
    async with database.begin() as tx:
        created, updated = JobOrderField.CREATED_AT, JobOrderField.UPDATED_AT
        pending = JobFilter(statuses=(JobStatus.IN_EXECUTION,))
        every = JobLogFilter()
        asked: dict[str, tuple[Awaitable[Any], set[str]]] = {
            "jobs by created": (jobs.page(tx, EVERYTHING, JobFilter(), created, *newest), {"ix_jobs_created"}),
            "jobs by updated": (jobs.page(tx, EVERYTHING, JobFilter(), updated, *newest), {"ix_jobs_updated"}),
            "an owner's jobs by created": (
                jobs.page(tx, owner, JobFilter(), created, *newest),
                {"ix_jobs_owner_created", "ix_jobs_owner_updated"},
            ),
            "an owner's jobs by updated": (
                jobs.page(tx, owner, JobFilter(), updated, *newest),
                {"ix_jobs_owner_created", "ix_jobs_owner_updated"},
            ),
            "jobs in a status": (
                jobs.page(tx, EVERYTHING, pending, created, *newest),
                {"ix_jobs_status_created", "ix_jobs_status_since"},
            ),
            "jobs' logs": (
                logs.of_jobs(tx, EVERYTHING, of_jobs, every, Page(20), WHOLE_ENTRY),
                {"ix_job_logs_job"},
            ),
            "a job's log": (
                logs.of_jobs(tx, EVERYTHING, of_jobs[:1], every, Page(20), WHOLE_ENTRY),
                {"ix_job_logs_job"},
            ),
            "a job": (jobs.get_many(tx, EVERYTHING, of_jobs[:1]), {"pk_jobs", "sqlite_autoindex_jobs_1"}),
            "executions' logs": (
                logs.of_executions(tx, EVERYTHING, of_runs, every, Page(20), WHOLE_ENTRY),
                {"ix_job_logs_execution"},
            ),
            "jobs' executions": (
                executions.of_jobs(tx, EVERYTHING, of_jobs, Page(20)),
                {"uq_executions_job_id", "sqlite_autoindex_executions_2"},
            ),
            "an owner's status changes": (
                logs.after(tx, owner, 100, limit=100, only=JobLogType.STATUS_CHANGE, up_to=99_999),
                {"ix_job_logs_changes"},
            ),
            "a job's new entries": (
                logs.after(tx, EVERYTHING, 100, limit=100, job_id="job_7"),
                {"ix_job_logs_job"},
            ),
            "a job's live execution": (
                executions.live_of_job(tx, "job_20"),
                {"uq_executions_live_job", "uq_executions_job_id", "sqlite_autoindex_executions_2"},
            ),
            "when the next is due": (executions.next_due_seconds(tx, "in_process"), {"ix_executions_claimable"}),
            "whether too many wait": (
                executions.queued_beyond(tx, 10_000),
                {"ix_executions_claimable", "ix_executions_owner", "uq_executions_live_job"},
            ),
            "what is due": (
                executions.claim_due(tx, "nobody's", "process", 30, 100),
                {"ix_executions_claimable"},
            ),
            "leases": (
                executions.renew(tx, "process 1", of_runs, 30),
                {"ix_executions_owner", "pk_executions", "sqlite_autoindex_executions_1"},
            ),
            "a process's leases": (
                executions.release(tx, "process 1"),
                {"ix_executions_owner"},
            ),
        }
        missed: dict[str, str] = {}
        for name, (ask, indexes) in asked.items():
            text_of = await plan(tx, ask)
            scanned = SCANS_A_TABLE.search(text_of)
            if scanned or not any(index in text_of for index in indexes):
                missed[name] = text_of
        assert missed == {}
