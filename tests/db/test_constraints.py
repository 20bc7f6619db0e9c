"""What the database itself refuses, whatever a program writes."""

# A package here would hide the real db from the type checker.
# ruff: noqa: INP001

from contextlib import suppress

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from db.records import JobLogType, JobStatus
from db.session import Database, Transaction
from tests.db.making import make_agent, make_execution, make_job, make_log

CANCELLED = "UPDATE executions SET state = 'finished', finished_at = queued_at, outcome = 'cancelled'"


async def a_job_with_an_execution(tx: Transaction) -> None:
    agent = await make_agent(tx)
    job = await make_job(tx, agent)
    run = await make_execution(tx, job, agent)
    await make_log(tx, job, JobLogType.AGENT_REQUEST, execution_id=run.execution.id, attempt=1)


REFUSED = {
    "completed without a result": "UPDATE jobs SET status = 'completed'",
    "a result without completed": "UPDATE jobs SET result = '1'",
    "a sixth status": "UPDATE jobs SET status = 'paused'",
    "an owner who is nobody": "UPDATE jobs SET owner_id = NULL",
    "an agent that does not exist": "UPDATE jobs SET agent_id = 'agt_none'",
    "an unknown state": "UPDATE executions SET state = 'paused'",
    "an unknown outcome": "UPDATE executions SET state = 'finished', finished_at = queued_at, outcome = 'lost'",
    "an outcome without finished": "UPDATE executions SET outcome = 'rejected'",
    "finished without an outcome": "UPDATE executions SET state = 'finished', finished_at = queued_at",
    "finished without a time": "UPDATE executions SET state = 'finished', outcome = 'rejected'",
    "a time without finished": "UPDATE executions SET finished_at = queued_at",
    "waiting without a time": "UPDATE executions SET state = 'waiting_retry'",
    "a time without waiting": "UPDATE executions SET next_retry_at = queued_at",
    "accepted without an answer": (
        "UPDATE executions SET state = 'finished', finished_at = queued_at, outcome = 'accepted', answered = false"
    ),
    "a change to no status": "UPDATE job_logs SET type = 'status_change'",
    "a status without a change": "UPDATE job_logs SET to_status = 'assigned'",
    "a response to nothing": "UPDATE job_logs SET type = 'agent_response'",
    "a response to an entry that does not exist": ("UPDATE job_logs SET type = 'agent_response', answers = 'log_none'"),
    "a request that answers": "UPDATE job_logs SET answers = id",
    "an unknown type": "UPDATE job_logs SET type = 'note'",
    "an unknown payload state": "UPDATE job_logs SET payload_state = 'lost'",
}


async def test_the_database_refuses_what_cannot_be(database: Database) -> None:
    async with database.begin() as tx:
        await a_job_with_an_execution(tx)
    accepted: list[str] = []
    for name, statement in REFUSED.items():
        with suppress(IntegrityError):
            async with database.begin() as tx:
                await tx.connection.execute(text(statement))
                accepted.append(name)
                await tx.connection.rollback()
    assert accepted == []


async def test_a_job_has_no_second_live_execution(database: Database) -> None:
    async with database.begin() as tx:
        agent = await make_agent(tx)
        job = await make_job(tx, agent)
        await make_execution(tx, job, agent)
    with pytest.raises(IntegrityError):
        async with database.begin() as tx:
            await make_execution(tx, job, agent)
    async with database.begin() as tx:
        await tx.connection.execute(text(CANCELLED))
        await make_execution(tx, job, agent)


async def test_a_request_has_no_second_response(database: Database) -> None:
    async with database.begin() as tx:
        job = await make_job(tx)
        request = await make_log(tx, job, JobLogType.AGENT_REQUEST)
        await make_log(tx, job, JobLogType.AGENT_RESPONSE, answers=request)
    with pytest.raises(IntegrityError):
        async with database.begin() as tx:
            await make_log(tx, job, JobLogType.AGENT_RESPONSE, answers=request)


async def test_two_executions_of_a_job_have_two_numbers(database: Database) -> None:
    async with database.begin() as tx:
        await a_job_with_an_execution(tx)
        await tx.connection.execute(text(CANCELLED))
        await tx.connection.execute(text("UPDATE jobs SET execution_count = 0"))
    with pytest.raises(IntegrityError):
        async with database.begin() as tx:
            await _again(tx)


async def _again(tx: Transaction) -> None:
    agent = await make_agent(tx)
    job = await make_job(tx, agent)
    job_id = (await tx.connection.execute(text("SELECT job_id FROM executions"))).scalar_one()
    run = await make_execution(tx, job, agent)
    await tx.connection.execute(
        text("UPDATE executions SET job_id = :job, number = 1 WHERE id = :id"), {"job": job_id, "id": run.execution.id}
    )


async def test_an_execution_holds_one_slot(database: Database) -> None:
    async with database.begin() as tx:
        await make_agent(tx, max_concurrent_executions=2)
    with pytest.raises(IntegrityError):
        async with database.begin() as tx:
            await tx.connection.execute(text("UPDATE agent_slots SET execution_id = 'exe_1'"))


async def test_what_is_refused_leaves_the_job_as_it_was(database: Database) -> None:
    async with database.begin() as tx:
        job = await make_job(tx)
    with pytest.raises(IntegrityError):
        async with database.begin() as tx:
            await _rename_and_complete(tx)
    async with database.read() as tx:
        row = (await tx.connection.execute(text("SELECT title, status FROM jobs"))).one()
    assert tuple(row) == (job.title, JobStatus.PENDING.value)


async def _rename_and_complete(tx: Transaction) -> None:
    await tx.connection.execute(text("UPDATE jobs SET title = 'Changed'"))
    await tx.connection.execute(text("UPDATE jobs SET status = 'completed'"))
