"""Chains of statements: all of them or none, and on PostgreSQL also behind a lock that the first one waits for."""

# A package here would hide the real db from the type checker.
# ruff: noqa: INP001

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from db import agents, executions, feed, jobs, logs, validations
from db.chains import MOST_LINKS, Link, chained
from db.records import (
    EVERYTHING,
    Agent,
    ExecutionOutcome,
    ExecutionState,
    JobLogType,
    JobStatus,
    LogEntry,
    Run,
    Verdict,
)
from db.session import Database, Transaction
from services.ids import LOG, new_id
from tests.db.making import make_agent, make_execution, make_job, make_log, scalar

ON_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
async def run(database: Database) -> Run:
    async with database.begin() as tx:
        agent = await make_agent(tx)
        return await make_execution(tx, await make_job(tx, agent), agent, lease=("one", 60))


def noting(run: Run, message: str = "An entry") -> Link:
    return logs.appending(new_id(LOG), run.execution.job_id, LogEntry(JobLogType.JOB_EDIT, message))


async def keep(tx: Transaction, run: Run, *then: Link, fence: int | None = None) -> bool:
    first = (jobs.locking(run.execution.job_id, reads=False),)
    held = run.fence if fence is None else fence
    return await executions.keep_answer(tx, run.execution.id, held, {"ok": True}, 60, first=first, then=then)


async def by_itself(database: Database, step: Callable[..., Awaitable[bool]], *given: Any) -> bool:
    """What comes of a step that is all of its transaction."""
    async with database.begin(single=True) as tx:
        return await step(tx, *given)


async def written(database: Database, run: Run) -> tuple[bool, int, list[str]]:
    """Whether an answer is kept, how many slots are taken, and what the log says."""
    async with database.read() as tx:
        kept = await executions.run(tx, run.execution.id)
        assert kept is not None
        taken = await scalar(tx, "SELECT count(*) FROM agent_slots WHERE execution_id IS NOT NULL")
        entries = await logs.after(tx, EVERYTHING, 0, limit=100, job_id=run.execution.job_id)
    return kept.answered, taken, [entry.message for entry in entries]


async def test_a_chain_is_executed_in_its_order(database: Database, run: Run) -> None:
    messages = [f"Entry {number}" for number in range(9)]
    async with database.begin(single=True) as tx:
        assert await keep(tx, run, *(noting(run, message) for message in messages))
        assert tx.rings == {run.execution.job_id}
    assert await written(database, run) == (True, 0, messages)


async def test_a_chain_that_is_too_long_for_one_statement_is_executed_as_a_whole_too(
    database: Database, run: Run
) -> None:
    messages = [f"Entry {number}" for number in range(3 * MOST_LINKS)]
    entries = [noting(run, message) for message in messages]
    assert not await by_itself(database, partial(keep, fence=run.fence + 1), run, *entries)
    with pytest.raises(IntegrityError):
        await by_itself(database, keep, run, *entries, entries[0])
    assert await written(database, run) == (False, 1, [])
    assert await by_itself(database, keep, run, *entries)
    assert await written(database, run) == (True, 0, messages)
    assert database.connections()["work"][0] == 0


async def test_what_comes_after_a_link_that_finds_nothing_is_not_executed(database: Database, run: Run) -> None:
    async with database.begin() as tx:
        assert not await keep(tx, run, noting(run), fence=run.fence + 1)
        assert tx.rings == set()
    assert await written(database, run) == (False, 1, [])


async def test_a_link_that_may_find_nothing_holds_up_nobody(database: Database, run: Run) -> None:
    async with database.begin() as tx:
        await chained(tx, executions.freeing_slot(run.execution.id))
        assert await chained(tx, executions.freeing_slot(run.execution.id), noting(run)) is not None
    assert await written(database, run) == (False, 0, ["An entry"])


async def test_a_chain_that_fails_in_the_middle_has_written_nothing(database: Database, run: Run) -> None:
    twice = noting(run)
    with pytest.raises(Exception, match=r"(?i)unique"):
        async with database.begin(single=True) as tx:
            await keep(tx, run, twice, twice)
    assert await written(database, run) == (False, 1, [])


async def waiting(database: Database) -> None:
    """Wait until somebody waits for a lock."""
    text = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(30), database.read() as tx:
        while not await scalar(tx, text):  # noqa: ASYNC110 - it rings no bell
            await asyncio.sleep(0.005)


@ON_POSTGRESQL
async def test_a_chain_that_has_waited_for_the_lock_finds_the_fence_raised_meanwhile(
    database: Database, run: Run
) -> None:
    async with database.begin() as tx:
        await jobs.lock(tx, run.execution.job_id)
        task = asyncio.create_task(by_itself(database, keep, run, noting(run)))
        await waiting(database)
        await executions.finish(tx, run.execution.id, run.fence, ExecutionOutcome.CANCELLED)
        await chained(tx, executions.freeing_slot(run.execution.id))
        await jobs.set_notice(tx, await _job(tx, run), None)
    assert not await task
    assert await written(database, run) == (False, 0, [])


@ON_POSTGRESQL
async def test_a_chain_that_has_waited_for_the_lock_writes_over_what_changed_beside_its_fence(
    database: Database, run: Run
) -> None:
    """Its statement is older than all of that: it looks at each row again."""
    async with database.begin() as tx:
        job = await _job(tx, run)
        task = asyncio.create_task(by_itself(database, keep, run, noting(run, "Second")))
        await waiting(database)
        assert await jobs.set_notice(tx, job, None)
        assert await executions.keeping(tx, run.execution.id, run.fence, calls=2)
        await tx.connection.exec_driver_sql("UPDATE agent_slots SET execution_id = execution_id")
        await make_log(tx, job)
        assert await scalar(tx, "SELECT last_value FROM job_logs_seq_seq") == 1  # the other has drawn none
    assert await task
    assert await written(database, run) == (True, 0, ["An entry", "Second"])
    async with database.read() as tx:
        first, second = await logs.after(tx, EVERYTHING, 0, limit=100)
        kept = await executions.run(tx, run.execution.id)
    assert first.timestamp < second.timestamp
    assert kept is not None
    assert kept.validator_calls == 2


async def ask(tx: Transaction, run: Run, agent: Agent) -> bool:
    """As a request does: at once, or not at all."""
    first = (jobs.locking(run.execution.job_id, reads=False, waits=False), agents.still(agent))
    return await executions.sending(tx, run.execution.id, run.fence, "digest", first=first, then=(noting(run),))


async def asked(database: Database, run: Run, agent: Agent) -> bool:
    """Whether a request is logged, and counted."""
    done = await by_itself(database, ask, run, agent)
    async with database.read() as tx:
        kept = await executions.run(tx, run.execution.id)
    assert kept is not None
    _, _, messages = await written(database, run)
    assert (kept.agent_tries, messages) == ((1, ["An entry"]) if done else (0, []))
    return done


async def test_an_agent_is_asked_that_is_enabled_and_as_it_was_read(database: Database, run: Run) -> None:
    async with database.begin() as tx:
        disabled = await agents.change(tx, run.agent.id, {"enabled": False})
    assert disabled is not None
    assert not await asked(database, run, disabled)
    async with database.begin() as tx:
        enabled = await agents.change(tx, run.agent.id, {"enabled": True})
    assert enabled is not None
    changed_since = replace(enabled, updated_at=enabled.updated_at - timedelta(microseconds=1))
    assert not await asked(database, run, changed_since)
    assert await asked(database, run, enabled)


@ON_POSTGRESQL
async def test_an_agent_is_asked_without_waiting_for_who_has_its_job(database: Database, run: Run) -> None:
    async with database.begin() as tx:
        await jobs.lock(tx, run.execution.job_id)
        agent = await agents.get(tx, run.agent.id)
        assert agent is not None
        assert not await asked(database, run, agent)
    assert await asked(database, run, agent)


async def settle(tx: Transaction, run: Run) -> bool:
    """As a verdict does: everything in one chain."""
    id_, job_id = run.execution.id, run.execution.job_id
    validated = validations.creating(
        validation_id="val_1",
        execution_id=id_,
        validator="fake",
        model=None,
        votes=None,
        prompt=None,
        system_fingerprint=None,
        verdict=Verdict.FAIL,
        criteria=(),
        feedback="",
        duration_ms=1,
    )
    old = {"id": job_id, "status": JobStatus.IN_EXECUTION}
    moved = jobs.changing(old, status=JobStatus.RESUBMISSION_REQUIRED)
    return await executions.finish(
        tx,
        id_,
        run.fence,
        ExecutionOutcome.REJECTED,
        validation_id="val_1",
        spent=executions.Spent(1, 2, 0.5),
        first=(jobs.locking(job_id, status=JobStatus.IN_EXECUTION, reads=False),),
        then=(validated, moved, noting(run, "Settled")),
    )


async def settled(database: Database, run: Run) -> tuple[JobStatus, list[tuple[int | None, int | None, float | None]]]:
    """The job's status, and what its validations say that they cost."""
    async with database.read() as tx:
        job = await jobs.get(tx, EVERYTHING, run.execution.job_id)
        found = await validations.get_many(tx, EVERYTHING, ["val_1"])
    assert job is not None
    return job.status, [(made.prompt_tokens, made.completion_tokens, made.cost_usd) for made in found if made]


async def test_a_verdict_has_what_its_round_has_cost_altogether(database: Database, run: Run) -> None:
    async with database.begin() as tx:
        await jobs.change(tx, await _job(tx, run), status=JobStatus.IN_EXECUTION)
        await executions.keeping(tx, run.execution.id, run.fence, spent=executions.Spent(10, None, 1.0))
    assert await by_itself(database, settle, run)
    assert await settled(database, run) == (JobStatus.RESUBMISSION_REQUIRED, [(11, 2, 1.5)])


async def test_of_a_job_that_is_not_in_execution_nothing_is_settled(database: Database, run: Run) -> None:
    assert not await by_itself(database, settle, run)
    assert await settled(database, run) == (JobStatus.ASSIGNED, [])
    async with database.read() as tx:
        kept = await executions.run(tx, run.execution.id)
    assert kept is not None
    assert (kept.fence, kept.execution.state) == (run.fence, ExecutionState.QUEUED)


@ON_POSTGRESQL
async def test_a_verdict_that_has_waited_for_the_lock_is_of_what_it_then_finds(database: Database, run: Run) -> None:
    async with database.begin() as tx:
        await jobs.change(tx, await _job(tx, run), status=JobStatus.IN_EXECUTION)
    async with database.begin() as tx:
        job = await _job(tx, run)
        task = asyncio.create_task(by_itself(database, settle, run))
        await waiting(database)
        assert await jobs.change(tx, job, title="Another")
        await executions.keeping(tx, run.execution.id, run.fence, spent=executions.Spent(10, None, 1.0))
    assert await task
    assert await settled(database, run) == (JobStatus.RESUBMISSION_REQUIRED, [(11, 2, 1.5)])
    async with database.read() as tx:
        job = await jobs.get(tx, EVERYTHING, run.execution.job_id)
    assert job is not None
    assert job.title == "Another"


@ON_POSTGRESQL
async def test_a_chain_announces_its_entries_before_it_draws_their_numbers(database: Database, run: Run) -> None:
    async with database.begin() as tx:
        other = await make_job(tx)
        await make_log(tx, other)
    async with database.begin() as tx:
        assert await keep(tx, run, noting(run))  # draws 2, and stays open
        async with database.begin() as beside:
            await jobs.lock(beside, other.id)
            await make_log(beside, other)
        async with database.read() as reading:
            assert await feed.watermark(reading) == 1
    async with database.read() as reading:
        assert await feed.watermark(reading) == 3


@ON_POSTGRESQL
async def test_a_single_transaction_takes_a_single_statement(database: Database, run: Run) -> None:
    with suppress(RuntimeError):
        async with database.begin(single=True) as tx:
            assert await keep(tx, run, noting(run))
            await chained(tx, noting(run))
            pytest.fail("It took two.")
    assert await written(database, run) == (True, 0, ["An entry"])


async def _job(tx: Transaction, run: Run) -> Any:
    job = await jobs.lock(tx, run.execution.job_id)
    assert job is not None
    return job
