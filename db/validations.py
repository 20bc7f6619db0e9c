"""Statements on validations and on the replies that a validation under way has had."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Delete,
    FromClause,
    Insert,
    Select,
    and_,
    bindparam,
    delete,
    func,
    select,
)

from db import rows
from db.chains import Link, Place
from db.models import executions, jobs, validations, validator_replies
from db.paging import Key, Listing, by_ids, counts_of_parents, ids_in, pages_of_parents
from db.prepared import given
from db.records import results
from db.types import ByteText, Id, clock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db.records import CriterionResult, JsonValue, Page, PageOf, Scope, Validation, Verdict
    from db.session import Transaction

IN_ORDER = Key(("number",))


def creating(
    *,
    validation_id: str,
    execution_id: str,
    validator: str,
    model: str | None,
    votes: int | None,
    prompt: str | None,
    system_fingerprint: str | None,
    verdict: Verdict,
    criteria: Sequence[CriterionResult],
    feedback: str,
    duration_ms: int,
) -> Link:
    """A link of a chain: insert the validation that has finished the execution, with what its round has cost.

    The fence makes it the only one: nobody else can have inserted one since the statement began.
    """
    values: dict[str, Any] = {
        "id": validation_id,
        "execution_id": execution_id,
        "validator": validator,
        "model": model,
        "votes": votes,
        "prompt": prompt,
        "system_fingerprint": system_fingerprint,
        "verdict": verdict,
        "criteria": rows.results_json(criteria),
        "feedback": feedback,
        "duration_ms": duration_ms,
    }

    def build(place: Place) -> Insert:
        parameters = place.new(validations, values)
        earlier = validations.c.execution_id == parameters["execution_id"]
        number = select(func.coalesce(func.max(validations.c.number), 0) + 1).where(earlier).scalar_subquery()
        finished = place.as_changed(executions)
        spent = {
            name: select(finished.c[name]).where(finished.c.id == parameters["execution_id"]).scalar_subquery()
            for name in ("prompt_tokens", "completion_tokens", "cost_usd")
        }
        made = place.insert(validations, {"number": number, "created_at": clock(), **spent, **parameters})
        return made.returning(validations.c.number)

    return Link("a validation", build, given(values))


def keeping_reply(*, execution_id: str, round_: int, call: int, request_digest: str, reply: JsonValue) -> Link:
    """A link of a chain: keep the reply to the n-th call of a validation round until it settles.

    It takes the place of one to another request.
    """
    values = {
        "execution_id": execution_id,
        "round": round_,
        "call": call,
        "request_digest": request_digest,
        "reply": reply,
    }

    def build(place: Place) -> Insert:
        kept = place.upsert(validator_replies, place.new(validator_replies, values))
        return kept.returning(validator_replies.c.call)

    return Link("keep a reply", build, given(values))


async def replies(tx: Transaction, execution_id: str, round_: int) -> dict[int, tuple[str, Any]]:
    """The kept replies of a round: call -> (digest of its request, reply)."""
    statement = select(validator_replies).where(
        validator_replies.c.execution_id == execution_id, validator_replies.c.round == round_
    )
    return {row.call: (row.request_digest, row.reply) for row in await tx.connection.execute(statement)}


def dropping_replies(execution_id: str) -> Link:
    """A link of a chain: forget the kept replies: the validation has settled, and the log tells its story."""

    def build(place: Place) -> Delete:
        kept = validator_replies.c.execution_id == place.parameter("key", Id)
        return delete(validator_replies).where(kept, *place.when)

    return Link("drop replies", build, {"key": execution_id}, brings=0)


async def compared(
    tx: Transaction, scope: Scope, execution_ids: Sequence[str]
) -> list[tuple[tuple[CriterionResult, ...], tuple[CriterionResult, ...]]]:
    """What was decided of each execution, and of the latest one before it in its job that was judged.

    Either is empty where there is none.
    """
    earlier, now_, before = executions.alias("earlier"), validations.alias("now_"), validations.alias("before_")
    last_before = (
        select(func.max(earlier.c.number))
        .where(
            earlier.c.job_id == executions.c.job_id,
            earlier.c.number < executions.c.number,
            earlier.c.latest_validation_id.is_not(None),
        )
        .scalar_subquery()
    )
    attempt = executions.alias("attempt")
    statement = (
        select(executions.c.id, now_.c.criteria.label("now"), before.c.criteria.label("before"))
        .join(now_, now_.c.id == executions.c.latest_validation_id)
        .outerjoin(attempt, and_(attempt.c.job_id == executions.c.job_id, attempt.c.number == last_before))
        .outerjoin(before, before.c.id == attempt.c.latest_validation_id)
        .where(executions.c.id.in_(ids_in(tx, execution_ids)))
    )
    if scope.owner_id is not None:
        owned = select(jobs.c.id).where(jobs.c.id == executions.c.job_id, jobs.c.owner_id == scope.owner_id)
        statement = statement.where(owned.exists())
    found = {row.id: (results(row.now), results(row.before or ())) for row in await tx.connection.execute(statement)}
    return [found.get(execution_id, ((), ())) for execution_id in execution_ids]


def _owned(table: FromClause) -> Select[Any]:
    owned = (
        select(executions.c.id)
        .join(jobs, jobs.c.id == executions.c.job_id)
        .where(and_(executions.c.id == table.c.execution_id, jobs.c.owner_id == bindparam("owner", type_=ByteText)))
    )
    return select(table).where(owned.exists())


def _listed(scope: Scope) -> Listing:
    if scope.owner_id is None:
        return Listing(select, shape="all")
    return Listing(_owned, {"owner": scope.owner_id}, "owned")


async def get_many(tx: Transaction, scope: Scope, validation_ids: Sequence[str]) -> list[Validation | None]:
    """Validations by id within the scope, in the order asked for."""
    return await by_ids(tx, validations, _listed(scope), validation_ids, rows.validation)


async def of_executions(
    tx: Transaction, scope: Scope, execution_ids: Sequence[str], page: Page
) -> list[PageOf[Validation]]:
    """The same page of many executions' validations, in the order of their numbers."""
    return await pages_of_parents(
        tx, validations, _listed(scope), "execution_id", execution_ids, IN_ORDER, page, rows.validation
    )


async def count_of_executions(tx: Transaction, scope: Scope, execution_ids: Sequence[str]) -> list[int]:
    """How many validations each execution has."""
    return await counts_of_parents(tx, validations, _listed(scope), "execution_id", execution_ids)
