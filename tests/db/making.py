"""Rows for tests of statements, made by the statements themselves."""

# A package here would hide the real db from the type checker.
# ruff: noqa: INP001

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text

from db import agents, executions, jobs, logs
from db.chains import chained
from db.records import Actor, Agent, Criterion, Job, JobLogType, JobStatus, LogEntry, PinnedAgent, PinnedJob, Role, Run
from db.session import Database, Transaction
from services.ids import AGENT, EXECUTION, JOB, LOG, new_id

OWNER = Actor("carl", "Carl", Role.CLIENT)
_COUNT = "UPDATE jobs SET execution_count = execution_count + 1 WHERE id = :id RETURNING execution_count"
CRITERIA = (Criterion("cri_1", "It is right.", required=True),)


async def make_agent(tx: Transaction, **fields: Any) -> Agent:
    values: dict[str, Any] = {
        "id": new_id(AGENT),
        "name": "An agent",
        "executor": "http_json",
        "endpoint_url": "http://127.0.0.1:9/",
        "timeout_seconds": 10.0,
        "max_concurrent_executions": 16,
        "idempotent": False,
        "enabled": True,
    }
    return await agents.create(tx, values | fields)


async def make_job(tx: Transaction, agent: Agent | None = None, owner: Actor = OWNER) -> Job:
    job = await jobs.create(
        tx,
        job_id=new_id(JOB),
        owner=owner,
        title="A job",
        description="",
        input={},
        acceptance_criteria=CRITERIA,
    )
    if agent is None:
        return job
    assigned = await jobs.change(tx, job, status=JobStatus.ASSIGNED, agent_id=agent.id)
    assert assigned is not None
    return assigned


async def make_execution(
    tx: Transaction,
    job: Job,
    agent: Agent,
    *,
    lease: tuple[str, float] | None = None,
    runner: str = "in_process",
    previous_execution_id: str | None = None,
) -> Run:
    """A QUEUED execution, as a press of Execute makes it; the job's status stays."""
    execution_id = new_id(EXECUTION)
    created = await executions.create(
        tx,
        execution_id=execution_id,
        job=job,
        number=await scalar(tx, _COUNT, id=job.id),
        requested_by=OWNER,
        trace_id=None,
        runner=runner,
        pinned_job=PinnedJob(job.id, job.title, job.description, job.input, job.acceptance_criteria),
        callee=None,
        pinned_agent=PinnedAgent(
            agent.id, agent.name, agent.executor, agent.endpoint_url, None, None, None, 10.0, False
        ),
        previous_execution_id=previous_execution_id,
        idempotency_key="msg_1",
        validation_seed="00",
        lease=lease,
    )
    assert created is not None
    made, _ = created
    return made


async def make_queued(
    database: Database, count: int, *, runner: str = "in_process", **agent: Any
) -> tuple[Agent, Sequence[str]]:
    """An agent and the ids of executions of it that wait, each of its own job, oldest first."""
    async with database.begin() as tx:
        made = await make_agent(tx, **agent)
        found = [
            (await make_execution(tx, await make_job(tx, made), made, runner=runner)).execution.id for _ in range(count)
        ]
        for seconds, execution_id in enumerate(reversed(found), 1):
            await age(tx, execution_id, seconds)
    return made, found


async def make_log(tx: Transaction, job: Job, type_: JobLogType = JobLogType.JOB_EDIT, **fields: Any) -> str:
    log_id = new_id(LOG)
    await chained(tx, logs.appending(log_id, job.id, LogEntry(type_, "An entry", **fields)))
    return log_id


async def age(tx: Transaction, execution_id: str, seconds: float) -> None:
    """Make the execution claimable that many seconds ago: a lease expired, a wait over."""
    ago = (
        f"statement_timestamp() - interval '{seconds} seconds'"
        if tx.postgresql
        else f"strftime('%Y-%m-%d %H:%M:%f000', 'now', '-{seconds} seconds')"
    )
    statement = f"UPDATE executions SET claimable_at = {ago} WHERE id = :id"  # noqa: S608 - a number
    await tx.connection.execute(text(statement), {"id": execution_id})


async def scalar(tx: Transaction, statement: str, **values: Any) -> Any:
    return (await tx.connection.execute(text(statement), values)).scalar_one()
