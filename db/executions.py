"""Statements on executions: leases, fences and the durable steps.

Every write of a running execution is a compare-and-set on its fence: whoever claims it raises the fence, so a
stale owner that wakes up changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Executable,
    FromClause,
    Integer,
    Select,
    Text,
    Update,
    and_,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    type_coerce,
    update,
)

from db import rows
from db.models import agent_slots, agents, executions, jobs
from db.paging import Key, Listing, by_ids, counts_of_parents, ids_in, pages_of_parents, prepared
from db.records import ExecutionOutcome, ExecutionState, LiveExecutions
from db.types import ByteText, Id, in_seconds, now

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from db.records import (
        Actor,
        Execution,
        Job,
        JsonValue,
        Page,
        PageOf,
        PinnedAgent,
        PinnedJob,
        Run,
        Scope,
    )
    from db.session import Transaction

# Of an execution that is committed under a lease; without one it is 0, and the first claim raises it to this.
FIRST_FENCE = 1
# Owns, in place of a process, what was handed to a workflow engine and is not being worked on just now.
HANDED_OVER = "handed over"
IN_ORDER = Key(("number",))
_LIVE = executions.c.state != ExecutionState.FINISHED


@dataclass(frozen=True, slots=True)
class Claimed:
    """An execution that a process has claimed, under this fence."""

    execution_id: str
    fence: int
    queued: bool
    """It has not called its agent yet, and has a slot to do so."""
    taken_over: bool = False
    """Its owner before let its lease expire."""


async def create(
    tx: Transaction,
    *,
    execution_id: str,
    job: Job,
    number: int,
    requested_by: Actor,
    trace_id: str | None,
    runner: str,
    pinned_job: PinnedJob,
    pinned_agent: PinnedAgent,
    previous_execution_id: str | None,
    idempotency_key: str,
    validation_seed: str,
    lease: tuple[str, float] | None,
) -> Run:
    """Insert a QUEUED execution. `job` is as before Execute.

    With a lease (owner, seconds) it is that owner's at once, under fence 1, and must have a slot of its agent;
    without, any process of its runner may claim it.
    """
    owner, lease_seconds = lease or (None, 0.0)
    statement = insert(executions).values(
        id=execution_id,
        job_id=job.id,
        number=number,
        state=ExecutionState.QUEUED,
        trace_id=trace_id,
        runner=runner,
        lease_owner=owner,
        claimable_at=in_seconds(lease_seconds),
        fence=0 if owner is None else FIRST_FENCE,
        takeovers=0,
        job_revision=job.revision,
        agent_id=pinned_agent.id,
        pinned_job=rows.pinned_job_json(pinned_job),
        pinned_agent=rows.pinned_agent_json(pinned_agent),
        previous_execution_id=previous_execution_id,
        status_before=job.status,
        result_before=job.result,
        idempotency_key=idempotency_key,
        agent_tries=0,
        agent_responded=False,
        answered=False,
        validation_round=0,
        validation_seed=validation_seed,
        validator_calls=0,
        validator_tries=0,
        queued_at=now(),
        **rows.actor_columns("requested_by", requested_by),
    )
    return rows.run((await tx.connection.execute(statement.returning(executions))).one())


async def _one(tx: Transaction, statement: Executable) -> Run | None:
    """The one execution that a statement on whole rows brings, if it brings any."""
    row = (await tx.connection.execute(statement)).one_or_none()
    return None if row is None else rows.run(row)


async def run(tx: Transaction, execution_id: str) -> Run | None:
    """An execution with all that running it needs."""
    statement = prepared(tx, "run", lambda: select(executions).where(executions.c.id == bindparam("key", type_=Id)))
    row = await tx.fetch_one(statement, {"key": execution_id})
    return None if row is None else rows.run(row)


async def live_of_job(tx: Transaction, job_id: str) -> Run | None:
    """The job's live execution; there is at most one."""
    return await _of_job(tx, "live", job_id, _LIVE, locked=True)


async def last_sent(tx: Transaction, job_id: str) -> Run | None:
    """The job's latest execution that has sent its agent a request."""
    return await _of_job(tx, "sent", job_id, executions.c.agent_tries > 0)


async def last_judged(tx: Transaction, job_id: str) -> Run | None:
    """The job's latest execution whose answer was judged."""
    return await _of_job(tx, "judged", job_id, executions.c.latest_validation_id.is_not(None))


async def _of_job(
    tx: Transaction, shape: str, job_id: str, which: ColumnElement[bool], *, locked: bool = False
) -> Run | None:
    def build() -> Select[Any]:
        found = select(executions).where(executions.c.job_id == bindparam("key", type_=Id), which)
        found = found.order_by(executions.c.number.desc()).limit(1)
        # A process may claim it at any moment, which raises its fence without the job's lock.
        return found.with_for_update() if locked else found

    row = await tx.fetch_one(prepared(tx, ("execution of a job", shape), build), {"key": job_id})
    return None if row is None else rows.run(row)


async def _advance(
    tx: Transaction,
    execution_id: str,
    held_fence: int,
    values: Mapping[str, Any],
    expressions: Callable[[], Mapping[str, Any]] = dict[str, Any],
    /,
    **parameters: Any,
) -> Run | None:
    """Compare and set: change a live execution if its fence is still the one held, else None.

    Columns are set to values, or to SQL expressions, which are always the same for the same columns and may have
    `parameters`.
    """
    moved = expressions()

    def build() -> Update:
        held = (
            executions.c.id == bindparam("held_id", type_=Id),
            executions.c.fence == bindparam("held_fence", type_=Integer()),
            _LIVE,
        )
        new = {name: bindparam(f"new_{name}", type_=executions.c[name].type) for name in values}
        return update(executions).where(*held).values({**new, **moved}).returning(executions)

    shape = ("advance", *values, "by", *moved)
    new = {f"new_{name}": value for name, value in values.items()}
    held = {"held_id": execution_id, "held_fence": held_fence}
    row = await tx.fetch_one(prepared(tx, shape, build), {**held, **new, **parameters})
    return None if row is None else rows.run(row)


async def sending(tx: Transaction, execution_id: str, fence: int, request_digest: str) -> Run | None:
    """The agent is about to be sent a request; None where the fence was raised."""
    return await _advance(
        tx,
        execution_id,
        fence,
        {"state": ExecutionState.CALLING_AGENT, "agent_responded": False, "request_digest": request_digest},
        lambda: {
            "started_at": func.coalesce(executions.c.started_at, now()),
            "agent_tries": executions.c.agent_tries + 1,
        },
    )


async def not_answered(tx: Transaction, execution_id: str, fence: int, *, responded: bool) -> Run | None:
    """The request brought no usable answer, though maybe a complete response; None where the fence was raised."""
    return await _advance(tx, execution_id, fence, {"agent_responded": responded})


async def keep_answer(
    tx: Transaction, execution_id: str, fence: int, answer: JsonValue, deadline_seconds: float
) -> Run | None:
    """Keep the whole answer and start the clock of its validation; None where the fence was raised."""
    return await _advance(
        tx,
        execution_id,
        fence,
        {
            "state": ExecutionState.VALIDATING,
            "answered": True,
            "agent_responded": True,
            "answer": answer,
            "validation_round": 1,
        },
        lambda: {"validation_deadline": in_seconds("deadline")},
        deadline=float(deadline_seconds),
    )


async def asking(tx: Transaction, execution_id: str, fence: int) -> Run | None:
    """A validator is about to be asked; None where the fence was raised."""
    return await _advance(
        tx,
        execution_id,
        fence,
        {"state": ExecutionState.VALIDATING, "next_retry_at": None},
        lambda: {"validator_calls": executions.c.validator_calls + 1},
    )


async def keeping(tx: Transaction, execution_id: str, fence: int) -> bool:
    """Make sure, until the transaction ends, that the fence is still `fence`."""
    return await _advance(tx, execution_id, fence, {"fence": fence}) is not None


async def spent(
    tx: Transaction,
    execution_id: str,
    fence: int,
    *,
    prompt_tokens: int | None,
    completion_tokens: int | None,
    cost_usd: float | None,
) -> Run | None:
    """Add what a call of the validator cost; None where the fence was raised."""
    amounts = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "cost_usd": cost_usd}
    known = {name: amount for name, amount in amounts.items() if amount is not None}

    def added() -> dict[str, Any]:
        return {
            name: func.coalesce(executions.c[name], 0) + bindparam(f"add_{name}", type_=executions.c[name].type)
            for name in known
        }

    parameters = {f"add_{name}": amount for name, amount in known.items()}
    return await _advance(tx, execution_id, fence, {"fence": fence}, added, **parameters)


async def wait_retry(tx: Transaction, execution_id: str, fence: int, delay_seconds: float) -> Run | None:
    """Let go of the execution until it is due again; None where the fence was raised."""
    return await _advance(
        tx,
        execution_id,
        fence,
        {"state": ExecutionState.WAITING_RETRY, "lease_owner": None},
        lambda: {
            "next_retry_at": in_seconds("delay"),
            "claimable_at": in_seconds("delay"),
            "validator_tries": executions.c.validator_tries + 1,
        },
        delay=float(delay_seconds),
    )


async def retry_now(tx: Transaction, execution_id: str, fence: int) -> Run | None:
    """End the wait of an execution that waits; None where it does not wait under this fence."""
    statement = (
        update(executions)
        .where(
            executions.c.id == execution_id,
            executions.c.fence == fence,
            executions.c.state == ExecutionState.WAITING_RETRY,
            executions.c.lease_owner.is_(None),
        )
        .values(next_retry_at=now(), claimable_at=now())
        .returning(executions)
    )
    return await _one(tx, statement)


async def finish(tx: Transaction, execution_id: str, fence: int, outcome: ExecutionOutcome) -> Run | None:
    """End a live execution under its fence; whoever still works on it finds the fence raised."""
    return await _advance(
        tx,
        execution_id,
        fence,
        {
            "state": ExecutionState.FINISHED,
            "outcome": outcome,
            "next_retry_at": None,
            "lease_owner": None,
            "claimable_at": None,
            "fence": fence + 1,
        },
        lambda: {"finished_at": now()},
    )


async def reopen(
    tx: Transaction,
    execution_id: str,
    job: Job,
    *,
    runner: str,
    deadline_seconds: float,
    trace_id: str | None,
) -> Run | None:
    """Open a finished execution again to validate its kept answer, in a new round under a new fence and deadline."""
    statement = (
        update(executions)
        .where(executions.c.id == execution_id, executions.c.state == ExecutionState.FINISHED)
        .values(
            state=ExecutionState.VALIDATING,
            outcome=None,
            finished_at=None,
            runner=runner,
            fence=executions.c.fence + 1,
            takeovers=0,
            validation_round=executions.c.validation_round + 1,
            validator_tries=0,
            validation_deadline=in_seconds(deadline_seconds),
            prompt_tokens=None,
            completion_tokens=None,
            cost_usd=None,
            earlier_cost_usd=func.coalesce(executions.c.earlier_cost_usd, 0) + func.coalesce(executions.c.cost_usd, 0),
            lease_owner=None,
            claimable_at=now(),
            trace_id=trace_id,
            status_before=job.status,
            result_before=job.result,
        )
        .returning(executions)
    )
    return await _one(tx, statement)


# ------------------------------------------------------------------------------------------------ leases and claims


async def claim(tx: Transaction, execution_id: str, owner: str, lease_seconds: float) -> Claimed | None:
    """Claim one execution that is due or handed over, or None where it is not, or its agent has no free slot."""
    due = or_(executions.c.claimable_at <= now(), executions.c.lease_owner == HANDED_OVER)
    found = await _claim(tx, owner, lease_seconds, 1, executions.c.id == execution_id, due)
    return found[0] if found else None


async def hand_over(tx: Transaction, runner: str, seconds: float, patience_seconds: float, limit: int) -> list[Claimed]:
    """Hand executions to their engine: what nobody has, if it needs an agent's slot and one is free, and what is lost.

    Nobody has what is queued, opened again, taken back or let go. Lost seems what was handed over and not begun in
    time, and what has been due for longer than the engine's patience: it wakes by itself what waits for a validator.
    Handed over, it is not due again for `seconds`.
    """
    nobodys = and_(executions.c.state != ExecutionState.WAITING_RETRY, executions.c.lease_owner.is_(None))
    not_begun = executions.c.lease_owner == HANDED_OVER
    lost = executions.c.claimable_at <= in_seconds(-patience_seconds)
    which = and_(executions.c.runner == runner, or_(nobodys, not_begun, lost))
    return await _claim(tx, HANDED_OVER, seconds, limit, which)


async def take_back(tx: Transaction, execution_ids: Sequence[str]) -> None:
    """What was handed over did not arrive: it is due at once."""
    statement = (
        update(executions)
        .where(executions.c.id.in_(ids_in(tx, execution_ids)), executions.c.lease_owner == HANDED_OVER, _LIVE)
        .values(lease_owner=None, claimable_at=now())
    )
    await tx.connection.execute(statement)


async def hand_back(tx: Transaction, execution_id: str, owner: str, seconds: float) -> None:
    """The owner has done a step, if it still is the owner: the engine decides who does the next one."""
    statement = (
        update(executions)
        .where(executions.c.id == execution_id, executions.c.lease_owner == owner, _LIVE)
        .values(lease_owner=HANDED_OVER, claimable_at=in_seconds(seconds))
    )
    await tx.connection.execute(statement)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a live execution stands: whose it is, and in how many seconds it may be claimed."""

    answered: bool
    handed_over: bool
    due_seconds: float


async def standing(tx: Transaction, execution_id: str) -> Standing | None:
    """Where an execution stands; None where it is finished or unknown."""
    statement = select(executions.c.answered, executions.c.lease_owner, executions.c.claimable_at, now())
    row = (await tx.connection.execute(statement.where(executions.c.id == execution_id, _LIVE))).one_or_none()
    if row is None:
        return None
    answered, owner, claimable_at, present = row
    return Standing(answered, owner == HANDED_OVER, (claimable_at - present).total_seconds())


async def claim_due(
    tx: Transaction, runner: str, owner: str, lease_seconds: float, limit: int, *, running: Sequence[str] = ()
) -> list[Claimed]:
    """Claim executions of a runner that are due: queued ones whose agent has a free slot, waits that are over,
    and those whose owner let its lease expire. Oldest first; waits for no other process.

    `running` are those that the owner works on: a busy process that is late with its leases does not take them from
    itself, nor what it has just committed and not yet begun. What it lost altogether it finds two leases later.
    """
    others = or_(
        executions.c.lease_owner.is_(None),
        executions.c.lease_owner != owner,
        executions.c.claimable_at <= in_seconds(-2 * lease_seconds),
    )
    which = and_(executions.c.runner == runner, executions.c.id.not_in(ids_in(tx, running)), others)
    return await _claim(tx, owner, lease_seconds, limit, which)


async def _claim(
    tx: Transaction,
    owner: str,
    lease_seconds: float,
    limit: int,
    which: ColumnElement[bool],
    due_when: ColumnElement[bool] | None = None,
) -> list[Claimed]:
    has_slot = select(agent_slots.c.number).where(agent_slots.c.execution_id == executions.c.id).exists()
    free_slot = (
        select(agent_slots.c.number)
        .join(agents, agents.c.id == agent_slots.c.agent_id)
        .where(
            agent_slots.c.agent_id == executions.c.agent_id,
            agent_slots.c.execution_id.is_(None),
            agent_slots.c.number <= agents.c.max_concurrent_executions,
        )
        .exists()
    )
    due = (
        select(
            executions.c.id,
            executions.c.agent_id,
            executions.c.state,
            executions.c.lease_owner,
            has_slot.label("has_slot"),
        )
        .where(
            which,
            _LIVE,
            executions.c.claimable_at <= now() if due_when is None else due_when,
            or_(executions.c.state != ExecutionState.QUEUED, has_slot, free_slot),
        )
        .order_by(executions.c.claimable_at)
        .limit(limit)
        .with_for_update(skip_locked=True, of=executions)
    )
    ready: dict[str, tuple[bool, bool]] = {}
    for row in (await tx.connection.execute(due)).all():
        queued = row.state == ExecutionState.QUEUED
        if queued and not row.has_slot and not await take_slot(tx, row.agent_id, row.id):
            continue
        ready[row.id] = queued, row.lease_owner not in {None, HANDED_OVER}
    if not ready:
        return []
    statement = (
        update(executions)
        .where(executions.c.id.in_(ids_in(tx, list(ready))))
        .values(
            lease_owner=owner,
            claimable_at=in_seconds(lease_seconds),
            fence=executions.c.fence + 1,
            # Nobody was interrupted where nobody had it.
            takeovers=executions.c.takeovers
            + case((or_(executions.c.lease_owner.is_(None), executions.c.lease_owner == HANDED_OVER), 0), else_=1),
        )
        .returning(executions.c.id, executions.c.fence)
    )
    fences = {row.id: row.fence for row in await tx.connection.execute(statement)}
    return [Claimed(execution_id, fences[execution_id], *facts) for execution_id, facts in ready.items()]


async def take_slot(tx: Transaction, agent_id: str, execution_id: str) -> bool:
    """Take a free slot of the agent for the execution; False where there is none. Waits for nobody."""
    held = agent_slots.alias("held")
    beyond_maximum = (
        select(func.count())
        .select_from(held.join(agents, agents.c.id == held.c.agent_id))
        .where(
            held.c.agent_id == agent_id,
            held.c.number > agents.c.max_concurrent_executions,
            held.c.execution_id.is_not(None),
        )
    )
    free = (
        select(agent_slots.c.number)
        .join(agents, agents.c.id == agent_slots.c.agent_id)
        .where(
            agent_slots.c.agent_id == agent_id,
            agent_slots.c.number <= agents.c.max_concurrent_executions,
            agent_slots.c.execution_id.is_(None),
        )
        .order_by(agent_slots.c.number)
        # The maximum was lowered, and some above it are still under way: each leaves one free slot unused.
        .offset(beyond_maximum.scalar_subquery())
        .limit(1)
        .with_for_update(skip_locked=True, of=agent_slots)
    )
    statement = (
        update(agent_slots)
        .where(agent_slots.c.agent_id == agent_id, agent_slots.c.number == free.scalar_subquery())
        .values(execution_id=execution_id)
    )
    return (await tx.connection.execute(statement)).rowcount == 1


async def free_slot(tx: Transaction, execution_id: str) -> None:
    """Give the execution's slot back, if it holds one."""
    statement = update(agent_slots).where(agent_slots.c.execution_id == execution_id).values(execution_id=None)
    await tx.connection.execute(statement)


async def renew(tx: Transaction, owner: str, execution_ids: Sequence[str], lease_seconds: float) -> set[str]:
    """Renew an owner's leases on these executions; returns those that are still its own."""
    statement = (
        update(executions)
        .where(executions.c.id.in_(ids_in(tx, execution_ids)), executions.c.lease_owner == owner, _LIVE)
        .values(claimable_at=in_seconds(lease_seconds))
        .returning(executions.c.id)
    )
    return set((await tx.connection.execute(statement)).scalars())


async def release(tx: Transaction, owner: str) -> int:
    """Let go of every lease of an owner, so that another process may take over at once; returns how many."""
    statement = (
        update(executions)
        .where(executions.c.lease_owner == owner, _LIVE)
        .values(lease_owner=None, claimable_at=now(), fence=executions.c.fence + 1)
    )
    return (await tx.connection.execute(statement)).rowcount


async def judged_by(tx: Transaction, execution_id: str, fence: int, validation_id: str) -> Run | None:
    """Point the execution at its newest validation; None where the fence was raised."""
    return await _advance(tx, execution_id, fence, {"latest_validation_id": validation_id})


async def validation_seconds_left(tx: Transaction, execution_id: str) -> float:
    """How long until the execution's validation deadline; negative once it has passed."""
    statement = select(executions.c.validation_deadline, now()).where(executions.c.id == execution_id)
    deadline, present = (await tx.connection.execute(statement)).one()
    seconds: float = (deadline - present).total_seconds()
    return seconds


async def queued_beyond(tx: Transaction, limit: int) -> bool:
    """Whether at least `limit` executions wait for their turn."""
    # "Live" says no more than "queued" does, but is what the index of the few live ones among all has.
    queued = select(executions.c.id).where(executions.c.state == ExecutionState.QUEUED, _LIVE)
    some = queued.limit(limit).subquery()
    return (await tx.connection.execute(select(func.count()).select_from(some))).scalar_one() >= limit


async def next_due_seconds(tx: Transaction, runner: str) -> float | None:
    """How long until the next execution of a runner may be claimed; None where none is live."""
    statement = select(func.min(executions.c.claimable_at), now()).where(_LIVE, executions.c.runner == runner)
    earliest, present = (await tx.connection.execute(statement)).one()
    return None if earliest is None else max(0.0, (earliest - present).total_seconds())


async def census(tx: Transaction) -> list[LiveExecutions]:
    """What is live, by runner and state."""
    statement = (
        select(executions.c.runner, executions.c.state, func.count(), func.min(executions.c.queued_at), now())
        .where(_LIVE)
        .group_by(executions.c.runner, executions.c.state)
    )
    return [
        LiveExecutions(runner, ExecutionState(state), count, max(0.0, (present - oldest).total_seconds()))
        for runner, state, count, oldest, present in await tx.connection.execute(statement)
    ]


# ------------------------------------------------------------------------------------------------------------ reads


def _shown(table: FromClause) -> Select[Any]:
    answer = type_coerce(table.c.answer, Text()).label(rows.STORED_ANSWER)
    return select(*(table.c[name] for name in rows.SHOWN_COLUMNS), answer)


def _owned(table: FromClause) -> Select[Any]:
    owner = bindparam("owner", type_=ByteText)
    return _shown(table).where(select(jobs.c.id).where(jobs.c.id == table.c.job_id, jobs.c.owner_id == owner).exists())


def _listed(scope: Scope) -> Listing:
    if scope.owner_id is None:
        return Listing(_shown, shape="all")
    return Listing(_owned, {"owner": scope.owner_id}, "owned")


async def get_many(tx: Transaction, scope: Scope, execution_ids: Sequence[str]) -> list[Execution | None]:
    """Executions by id within the scope, in the order asked for."""
    return await by_ids(tx, executions, _listed(scope), execution_ids, rows.shown_execution)


async def of_jobs(tx: Transaction, scope: Scope, job_ids: Sequence[str], page: Page) -> list[PageOf[Execution]]:
    """The same page of many jobs' executions, in the order of their numbers."""
    return await pages_of_parents(
        tx, executions, _listed(scope), "job_id", job_ids, IN_ORDER, page, rows.shown_execution
    )


async def count_of_jobs(tx: Transaction, scope: Scope, job_ids: Sequence[str]) -> list[int]:
    """How many executions each job has."""
    return await counts_of_parents(tx, executions, _listed(scope), "job_id", job_ids)
