"""Statements on executions: leases, fences and the durable steps.

Every write of a running execution is a compare-and-set on its fence: whoever claims it raises the fence, so a
stale owner that wakes up changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Executable,
    FromClause,
    Insert,
    Integer,
    Select,
    Text,
    Update,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    null,
    or_,
    select,
    update,
)

from db import rows
from db.chains import Link, Place, chained
from db.models import agent_slots, agents, executions, jobs
from db.paging import (
    Key,
    Listing,
    by_ids,
    counts_of_parents,
    id_values,
    ids_in,
    ids_parameter,
    pages_of_parents,
    prepared,
    unread,
    unread_columns,
)
from db.prepared import given
from db.records import (
    WHOLE_EXECUTION,
    WHOLE_JOB,
    Execution,
    ExecutionOutcome,
    ExecutionState,
    Job,
    LiveExecutions,
    Parts,
    Run,
)
from db.types import ByteText, Id, clock, in_seconds, now

N = TypeVar("N", int, float)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from db.records import (
        Actor,
        Agent,
        JsonValue,
        Page,
        PageOf,
        PinnedAgent,
        PinnedJob,
        Scope,
    )
    from db.session import Transaction

# Of an execution that is committed under a lease; without one it is 0, and the first claim raises it to this.
FIRST_FENCE = 1
# Owns, in place of a process, what was handed to a workflow engine and is not being worked on just now.
HANDED_OVER = "handed over"
IN_ORDER = Key(("number",))
# By these an execution is found and put in its place: read with whatever is asked for.
PLACE = Parts({"id", "job_id", *IN_ORDER.names})
_NOT_BEGUN: Mapping[str, Any] = {
    "takeovers": 0,
    "agent_tries": 0,
    "agent_responded": False,
    "answered": False,
    "validation_round": 0,
    "validator_calls": 0,
    "validator_tries": 0,
}
# In the text, not as a parameter: so that the index of the few live ones serves every plan.
_LIVE = executions.c.state != literal_column(f"'{ExecutionState.FINISHED.value}'")


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
    callee: Agent | None,
    previous_execution_id: str | None,
    idempotency_key: str,
    validation_seed: str,
    lease: tuple[str, float] | None,
    then: Sequence[Link] = (),
) -> tuple[Run, Sequence[Sequence[Any]]] | None:
    """Insert a QUEUED execution. `job` is as before Execute.

    Returns it and the rows of what is executed `then`; None where one of those has found nothing.

    With a lease (owner, seconds) it is that owner's at once, under fence 1, and takes a slot of its agent: None where
    there is none. Without, any process of its runner may claim it.
    """
    owner, lease_seconds = lease or (None, 0.0)
    fence = 0 if owner is None else FIRST_FENCE
    values: dict[str, Any] = {
        "id": execution_id,
        "job_id": job.id,
        "number": number,
        "state": ExecutionState.QUEUED,
        "trace_id": trace_id,
        "runner": runner,
        "lease_owner": owner,
        "fence": fence,
        "job_revision": job.revision,
        "agent_id": pinned_agent.id,
        "pinned_job": rows.pinned_job_json(pinned_job),
        "pinned_agent": rows.pinned_agent_json(pinned_agent),
        "previous_execution_id": previous_execution_id,
        "status_before": job.status,
        "result_before": job.result,
        "idempotency_key": idempotency_key,
        "validation_seed": validation_seed,
        **_NOT_BEGUN,
        **rows.actor_columns("requested_by", requested_by),
    }

    def build(place: Place) -> Insert:
        times = {"queued_at": now(), "claimable_at": in_seconds(place.name("lease"))}
        made = place.insert(executions, {**times, **place.new(executions, values)})
        return made.returning(executions.c.queued_at)

    first = () if owner is None else (taking_slot(pinned_agent.id, execution_id),)
    inserting = Link("an execution", build, {**given(values), "lease": float(lease_seconds)})
    found = await chained(tx, *first, inserting, *then)
    if found is None:
        return None
    (queued_at,), *others = found[len(first) :]
    made = Run(
        execution=Execution(
            id=execution_id,
            job_id=job.id,
            number=number,
            job_revision=job.revision,
            agent_id=pinned_agent.id,
            state=ExecutionState.QUEUED,
            outcome=None,
            requested_by=requested_by,
            idempotency_key=idempotency_key,
            kept_answer=None,
            latest_validation_id=None,
            queued_at=queued_at,
            started_at=None,
            finished_at=None,
            next_retry_at=None,
        ),
        runner=runner,
        fence=fence,
        job=pinned_job,
        agent=pinned_agent,
        previous_execution_id=previous_execution_id,
        status_before=job.status,
        result_before=job.result,
        request_digest=None,
        validation_seed=validation_seed,
        validation_deadline=None,
        prompt_tokens=None,
        completion_tokens=None,
        cost_usd=None,
        earlier_cost_usd=None,
        trace_id=trace_id,
        callee=callee,
        **_NOT_BEGUN,
    )
    return made, others


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
    expressions: Mapping[str, Callable[[Place], Any]] = MappingProxyType({}),
    /,
    *,
    returning: Sequence[str] = ("fence",),
    first: Sequence[Link] = (),
    then: Sequence[Link] = (),
    **parameters: Any,
) -> Sequence[Sequence[Any]] | None:
    """Compare and set: change a live execution if its fence is still the one held; None where it is not.

    Columns are set to values, or to SQL expressions, made when a statement of that shape is first built: for the same
    columns they are always the same, and they may have `parameters`. Returns the rows of the links `first`, its own,
    and those of what is executed `then`.
    """
    held = {"id": execution_id, "fence": held_fence}

    def build(place: Place) -> Update:
        moved = {name: make(place) for name, make in expressions.items()}
        changed = update(executions).where(*_is_held(place), *place.when)
        changed = changed.values({**place.new(executions, values), **moved})
        return changed.returning(*(executions.c[name] for name in returning))

    shape = ("advance", *values, "by", *expressions, "giving", *returning)
    held_and_live = {**given(held, "held"), "finished": ExecutionState.FINISHED}
    return await chained(tx, *first, Link(shape, build, {**held_and_live, **given(values), **parameters}), *then)


def _is_held(place: Place) -> tuple[ColumnElement[bool], ...]:
    held = place.new(executions, ("id", "fence"), "held")
    # A parameter, which an index of the live ones alone does not serve: the row is found by its id. That index
    # looks shorter to PostgreSQL than it is, by all that has been live since the last vacuum.
    is_live = executions.c.state != place.parameter("finished", executions.c.state.type)
    return executions.c.id == held["id"], executions.c.fence == held["fence"], is_live


async def sending(
    tx: Transaction,
    execution_id: str,
    fence: int,
    request_digest: str,
    *,
    first: Sequence[Link] = (),
    then: Sequence[Link] = (),
) -> bool:
    """The agent is about to be sent a request; False where the fence was raised."""
    advanced = await _advance(
        tx,
        execution_id,
        fence,
        {"state": ExecutionState.CALLING_AGENT, "agent_responded": False, "request_digest": request_digest},
        {
            "started_at": lambda _: func.coalesce(executions.c.started_at, now()),
            "agent_tries": lambda _: executions.c.agent_tries + 1,
        },
        first=first,
        then=then,
    )
    return advanced is not None


async def not_answered(tx: Transaction, execution_id: str, fence: int, *, responded: bool) -> bool:
    """The request brought no usable answer, though maybe a complete response; False where the fence was raised."""
    return await _advance(tx, execution_id, fence, {"agent_responded": responded}) is not None


async def keep_answer(
    tx: Transaction,
    execution_id: str,
    fence: int,
    answer: JsonValue,
    deadline_seconds: float,
    *,
    first: Sequence[Link] = (),
    then: Sequence[Link] = (),
) -> bool:
    """Keep the whole answer, start the clock of its validation and give the slot back; False: the fence was raised."""
    advanced = await _advance(
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
        {"validation_deadline": lambda place: in_seconds(place.name("deadline"))},
        first=first,
        then=(freeing_slot(execution_id), *then),
        deadline=float(deadline_seconds),
    )
    return advanced is not None


@dataclass(frozen=True, slots=True)
class Spent:
    """What a validator's calls cost, in tokens and US dollars; None where nobody knows."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: float | None = None

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            _sum(self.prompt_tokens, other.prompt_tokens),
            _sum(self.completion_tokens, other.completion_tokens),
            _sum(self.cost_usd, other.cost_usd),
        )


def _sum(one: N | None, other: N | None) -> N | None:
    return one if other is None else other if one is None else one + other


NOTHING = Spent()
_SPENT = ("prompt_tokens", "completion_tokens", "cost_usd")


def _added(name: str, place: Place) -> ColumnElement[Any]:
    return func.coalesce(executions.c[name], 0) + place.parameter(f"add_{name}", executions.c[name].type)


def _adding(calls: int, spent: Spent) -> tuple[dict[str, Callable[[Place], Any]], dict[str, Any]]:
    """What is added to which column, and the parameters of that."""
    amounts = {"validator_calls": calls or None, **{name: getattr(spent, name) for name in _SPENT}}
    known = {name: amount for name, amount in amounts.items() if amount is not None}
    return {name: partial(_added, name) for name in known}, given(known, "add")


async def asking(
    tx: Transaction,
    execution_id: str,
    fence: int,
    *,
    calls: int = 1,
    spent: Spent = NOTHING,
    first: Sequence[Link] = (),
    then: Sequence[Link] = (),
) -> bool:
    """A validator is about to be asked, and so many requests are logged; False where the fence was raised.

    `spent` is what the calls before it cost.
    """
    added, parameters = _adding(calls, spent)
    values = {"state": ExecutionState.VALIDATING, "next_retry_at": None}
    return await _advance(tx, execution_id, fence, values, added, first=first, then=then, **parameters) is not None


async def keeping(tx: Transaction, execution_id: str, fence: int, *, calls: int = 0, spent: Spent = NOTHING) -> bool:
    """Make sure, until the transaction ends, that the fence is still `fence`.

    Counts requests that are logged within it, and what calls cost.
    """
    added, parameters = _adding(calls, spent)
    return await _advance(tx, execution_id, fence, {"fence": fence}, added, **parameters) is not None


async def wait_retry(tx: Transaction, execution_id: str, fence: int, delay_seconds: float) -> bool:
    """Let go of the execution until it is due again: whoever still works on it finds the fence raised.

    False where it was raised before.
    """
    advanced = await _advance(
        tx,
        execution_id,
        fence,
        {"state": ExecutionState.WAITING_RETRY, "lease_owner": None, "fence": fence + 1},
        {
            "next_retry_at": lambda place: in_seconds(place.name("delay")),
            "claimable_at": lambda place: in_seconds(place.name("delay")),
            "validator_tries": lambda _: executions.c.validator_tries + 1,
        },
        delay=float(delay_seconds),
    )
    tx.rings.add(execution_id)
    return advanced is not None


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


async def finish(
    tx: Transaction,
    execution_id: str,
    fence: int,
    outcome: ExecutionOutcome,
    *,
    validation_id: str | None = None,
    calls: int = 0,
    spent: Spent = NOTHING,
    first: Sequence[Link] = (),
    then: Sequence[Link] = (),
) -> bool:
    """End a live execution under its fence: with the validation that decided it, if one did, and its last calls.

    Whoever still works on it finds the fence raised. False where it was raised before.
    """
    added, parameters = _adding(calls, spent)
    finished = await _advance(
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
            **({} if validation_id is None else {"latest_validation_id": validation_id}),
        },
        {"finished_at": lambda _: clock(), **added},
        # What this round of validating has cost altogether, for whoever writes that down `then`.
        returning=("id", *_SPENT),
        first=first,
        then=then,
        **parameters,
    )
    tx.rings.add(execution_id)
    return finished is not None


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

    def which() -> ColumnElement[bool]:
        due = or_(executions.c.claimable_at <= now(), executions.c.lease_owner == HANDED_OVER)
        return and_(executions.c.id == bindparam("key", type_=Id), due)

    found = await _claim(tx, "one", owner, lease_seconds, 1, which, key=execution_id)
    return found[0] if found else None


async def hand_over(tx: Transaction, runner: str, seconds: float, patience_seconds: float, limit: int) -> list[Claimed]:
    """Hand executions to their engine: what nobody has, if it needs an agent's slot and one is free, and what is lost.

    Nobody has what is queued, opened again, taken back or let go. Lost seems what was handed over and not begun in
    time, and what has been due for longer than the engine's patience: it wakes by itself what waits for a validator.
    Handed over, it is not due again for `seconds`.
    """

    def which() -> ColumnElement[bool]:
        nobodys = and_(executions.c.state != ExecutionState.WAITING_RETRY, executions.c.lease_owner.is_(None))
        not_begun = executions.c.lease_owner == HANDED_OVER
        lost = executions.c.claimable_at <= in_seconds("past")
        return and_(_of_runner(), _due(), or_(nobodys, not_begun, lost))

    parameters = {"runner": runner, "past": -float(patience_seconds)}
    return await _claim(tx, "hand over", HANDED_OVER, seconds, limit, which, **parameters)


async def take_back(tx: Transaction, execution_ids: Sequence[str]) -> None:
    """What was handed over did not arrive: it is due at once."""
    statement = (
        update(executions)
        .where(executions.c.id.in_(ids_in(tx, execution_ids)), executions.c.lease_owner == HANDED_OVER, _LIVE)
        .values(lease_owner=None, claimable_at=now())
    )
    await tx.connection.execute(statement)


async def hand_back(tx: Transaction, execution_id: str, fence: int, seconds: float) -> bool:
    """A step is done: the engine decides who does the next one. False where the fence was raised.

    Not whoever owns it: a worker that was late may have lost it to another step of its own.
    """
    advanced = await _advance(
        tx,
        execution_id,
        fence,
        {"lease_owner": HANDED_OVER, "fence": fence + 1},
        {"claimable_at": lambda place: in_seconds(place.name("handed_over"))},
        handed_over=float(seconds),
    )
    return advanced is not None


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

    def which() -> ColumnElement[bool]:
        others = or_(
            executions.c.lease_owner.is_(None),
            executions.c.lease_owner != bindparam("owner", type_=Text()),
            executions.c.claimable_at <= in_seconds("past"),
        )
        not_running = executions.c.id.not_in(select(ids_parameter(postgresql=tx.postgresql).c.value))
        return and_(_of_runner(), _due(), not_running, others)

    parameters = {"runner": runner, "past": -2 * float(lease_seconds), "ids": id_values(tx, running)}
    return await _claim(tx, "due", owner, lease_seconds, limit, which, **parameters)


def _of_runner() -> ColumnElement[bool]:
    return executions.c.runner == bindparam("runner", type_=executions.c.runner.type)


def _due() -> ColumnElement[bool]:
    return executions.c.claimable_at <= now()


async def _claim(
    tx: Transaction,
    shape: str,
    owner: str,
    lease_seconds: float,
    limit: int,
    which: Callable[[], ColumnElement[bool]],
    **parameters: Any,
) -> list[Claimed]:
    """Claim those of the live executions that are meant, and have or find a slot if they need one.

    `which` has `parameters`, and is always the same for a shape.
    """

    def candidates() -> Select[Any, Any, Any, Any, Any]:
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
        columns = (executions.c.id, executions.c.agent_id, executions.c.state, executions.c.lease_owner)
        return (
            select(*columns, has_slot.label("has_slot"))
            .where(which(), _LIVE, or_(executions.c.state != ExecutionState.QUEUED, has_slot, free_slot))
            .order_by(executions.c.claimable_at)
            .limit(bindparam("size", type_=Integer()))
            .with_for_update(skip_locked=True, of=executions)
        )

    parameters = {**parameters, "owner": owner, "size": limit}
    ready: dict[str, tuple[bool, bool]] = {}
    for row in await tx.fetch(prepared(tx, ("claim", shape), candidates), parameters):
        queued = row.state == ExecutionState.QUEUED
        if queued and not row.has_slot and not await take_slot(tx, row.agent_id, row.id):
            continue
        ready[row.id] = queued, row.lease_owner not in {None, HANDED_OVER}
    if not ready:
        return []

    def claimed() -> Update:
        nobodys = or_(executions.c.lease_owner.is_(None), executions.c.lease_owner == HANDED_OVER)
        return (
            update(executions)
            .where(executions.c.id.in_(select(ids_parameter(postgresql=tx.postgresql).c.value)))
            .values(
                lease_owner=bindparam("owner", type_=Text()),
                claimable_at=in_seconds("lease"),
                fence=executions.c.fence + 1,
                # Nobody was interrupted where nobody had it.
                takeovers=executions.c.takeovers + case((nobodys, 0), else_=1),
            )
            .returning(executions.c.id, executions.c.fence)
        )

    taken = {"ids": id_values(tx, list(ready)), "owner": owner, "lease": float(lease_seconds)}
    fences = {row.id: row.fence for row in await tx.fetch(prepared(tx, "claimed", claimed), taken)}
    return [Claimed(execution_id, fences[execution_id], *facts) for execution_id, facts in ready.items()]


async def take_slot(tx: Transaction, agent_id: str, execution_id: str) -> bool:
    """Take a free slot of the agent for the execution; False where there is none. Waits for nobody."""
    return await chained(tx, taking_slot(agent_id, execution_id)) is not None


def taking_slot(agent_id: str, execution_id: str) -> Link:
    """The same as a link of a chain."""

    def build(place: Place) -> Update:
        agent = place.parameter("agent", Id)
        held = agent_slots.alias("held")
        beyond_maximum = (
            select(func.count())
            .select_from(held.join(agents, agents.c.id == held.c.agent_id))
            .where(
                held.c.agent_id == agent,
                held.c.number > agents.c.max_concurrent_executions,
                held.c.execution_id.is_not(None),
            )
        )
        free = (
            select(agent_slots.c.number)
            .join(agents, agents.c.id == agent_slots.c.agent_id)
            .where(
                agent_slots.c.agent_id == agent,
                agent_slots.c.number <= agents.c.max_concurrent_executions,
                agent_slots.c.execution_id.is_(None),
            )
            .order_by(agent_slots.c.number)
            # The maximum was lowered, and some above it are still under way: each leaves one free slot unused.
            .offset(beyond_maximum.scalar_subquery())
            .limit(1)
            .with_for_update(skip_locked=True, of=agent_slots)
        )
        taken = update(agent_slots).where(
            agent_slots.c.agent_id == agent, agent_slots.c.number == free.scalar_subquery(), *place.when
        )
        return taken.values(execution_id=place.parameter("execution", Id)).returning(agent_slots.c.number)

    return Link("take a slot", build, {"agent": agent_id, "execution": execution_id})


def freeing_slot(execution_id: str) -> Link:
    """A link of a chain: give the execution's slot back, if it holds one."""

    def build(place: Place) -> Update:
        held = agent_slots.c.execution_id == place.parameter("key", Id)
        return update(agent_slots).where(held, *place.when).values(execution_id=null())

    return Link("free a slot", build, {"key": execution_id}, brings=0)


async def renew(tx: Transaction, owner: str, execution_ids: Sequence[str], lease_seconds: float) -> set[str]:
    """Renew an owner's leases on these executions; returns those that are still its own."""

    def build() -> Update:
        these = executions.c.id.in_(select(ids_parameter(postgresql=tx.postgresql).c.value))
        still = executions.c.lease_owner == bindparam("owner", type_=Text())
        renewed = update(executions).where(these, still, _LIVE).values(claimable_at=in_seconds("lease"))
        return renewed.returning(executions.c.id)

    values = {"ids": id_values(tx, execution_ids), "owner": owner, "lease": float(lease_seconds)}
    return {row.id for row in await tx.fetch(prepared(tx, "renew", build), values)}


async def release(tx: Transaction, owner: str) -> int:
    """Let go of every lease of an owner, so that another process may take over at once; returns how many."""
    statement = (
        update(executions)
        .where(executions.c.lease_owner == owner, _LIVE)
        .values(lease_owner=None, claimable_at=now(), fence=executions.c.fence + 1)
    )
    return (await tx.connection.execute(statement)).rowcount


async def validation_seconds_left(tx: Transaction, execution_id: str) -> float:
    """How long until the execution's validation deadline; negative once it has passed."""
    statement = select(executions.c.validation_deadline, now()).where(executions.c.id == execution_id)
    deadline, present = (await tx.connection.execute(statement)).one()
    seconds: float = (deadline - present).total_seconds()
    return seconds


async def queued_beyond(tx: Transaction, limit: int) -> bool:
    """Whether at least `limit` executions wait for their turn."""

    def build() -> Select[Any]:
        # "Live" says no more than "queued" does, but is what the index of the few live ones among all has.
        queued = select(executions.c.id).where(executions.c.state == ExecutionState.QUEUED, _LIVE)
        some = queued.limit(bindparam("size", type_=Integer())).subquery()
        return select(func.count().label("rows")).select_from(some)

    waiting: int = (await tx.fetch_one(prepared(tx, "queued", build), {"size": limit}))[0]
    return waiting >= limit


async def next_due_seconds(tx: Transaction, runner: str) -> float | None:
    """How long until the next execution of a runner may be claimed; None where none is live."""

    def build() -> Select[Any, Any]:
        earliest = func.min(executions.c.claimable_at)
        return select(earliest.label("earliest"), now().label("present")).where(_LIVE, _of_runner())

    earliest, present = await tx.fetch_one(prepared(tx, "next due", build), {"runner": runner})
    return None if earliest is None else max(0.0, (earliest - present).total_seconds())


async def state(tx: Transaction, execution_id: str) -> ExecutionState | None:
    """An execution's state, and nothing else of it."""

    def build() -> Select[Any]:
        return select(executions.c.state).where(executions.c.id == bindparam("key", type_=Id))

    row = await tx.fetch_one(prepared(tx, "state", build), {"key": execution_id})
    return None if row is None else ExecutionState(row.state)


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


def _listed(scope: Scope, parts: Parts = PLACE) -> Listing:
    def shown(table: FromClause) -> Select[Any]:
        return unread(table, rows.columns(Execution, parts))

    def owned(table: FromClause) -> Select[Any]:
        owner = bindparam("owner", type_=ByteText)
        of_owner = select(jobs.c.id).where(jobs.c.id == table.c.job_id, jobs.c.owner_id == owner)
        return shown(table).where(of_owner.exists())

    if scope.owner_id is None:
        return Listing(shown, shape=("all", parts), named=False)
    return Listing(owned, {"owner": scope.owner_id}, ("owned", parts), named=False)


async def get_many(
    tx: Transaction, scope: Scope, execution_ids: Sequence[str], parts: Parts = WHOLE_EXECUTION
) -> list[Execution | None]:
    """Executions by id within the scope, in the order asked for."""
    parts |= PLACE
    return await by_ids(tx, executions, _listed(scope, parts), execution_ids, rows.reader(Execution, parts))


async def with_job(tx: Transaction, execution_id: str) -> tuple[Execution, Job]:
    """An execution that there is, and its job, as both stand at one moment; whoever's they are."""
    its_own, the_jobs = rows.columns(Execution, WHOLE_EXECUTION), rows.columns(Job, WHOLE_JOB)

    def build() -> Select[Any]:
        both = select(*unread_columns(executions, its_own), *unread_columns(jobs, the_jobs))
        its = executions.c.id == bindparam("key", type_=Id)
        return both.join_from(executions, jobs, jobs.c.id == executions.c.job_id).where(its)

    (row,) = await tx.fetch(prepared(tx, "with its job", build, named=False), {"key": execution_id})
    read, read_job = rows.reader(Execution, WHOLE_EXECUTION), rows.reader(Job, WHOLE_JOB)
    return read(row[: len(its_own)]), read_job(row[len(its_own) :])


async def of_jobs(
    tx: Transaction, scope: Scope, job_ids: Sequence[str], page: Page, parts: Parts = WHOLE_EXECUTION
) -> list[PageOf[Execution]]:
    """The same page of many jobs' executions, in the order of their numbers."""
    parts |= PLACE
    listing, read = _listed(scope, parts), rows.reader(Execution, parts)
    return await pages_of_parents(tx, executions, listing, "job_id", job_ids, IN_ORDER, page, read)


async def count_of_jobs(tx: Transaction, scope: Scope, job_ids: Sequence[str]) -> list[int]:
    """How many executions each job has."""
    return await counts_of_parents(tx, executions, _listed(scope), "job_id", job_ids)
