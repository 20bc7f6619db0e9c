"""Statements on jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, FromClause, Select, and_, func, insert, or_, select, update

from db import rows
from db.feed import announce
from db.models import executions, jobs
from db.paging import Key, ids_in, page_of_list
from db.records import JobOrderField, JobStatus, OrderDirection
from db.types import in_seconds, now

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from db.records import (
        Actor,
        Criterion,
        Job,
        JobFilter,
        JobNotice,
        JsonValue,
        Page,
        PageOf,
        Scope,
    )
    from db.session import Transaction

_COLUMNS: dict[str, Callable[[Any], JsonValue]] = {
    "acceptance_criteria": rows.criteria_json,
    "notice": rows.notice_json,
}


async def create(
    tx: Transaction,
    *,
    job_id: str,
    owner: Actor,
    title: str,
    description: str,
    input: JsonValue,  # noqa: A002  (the field's name in the contract)
    acceptance_criteria: Sequence[Criterion],
) -> Job:
    """Insert a PENDING job at revision 1."""
    await announce(tx)
    statement = insert(jobs).values(
        id=job_id,
        revision=1,
        title=title,
        description=description,
        input=input,
        acceptance_criteria=rows.criteria_json(acceptance_criteria),
        status=JobStatus.PENDING,
        status_since=now(),
        execution_count=0,
        created_at=now(),
        updated_at=now(),
        **rows.actor_columns("owner", owner),
    )
    return rows.job((await tx.connection.execute(statement.returning(jobs))).one())


async def lock(tx: Transaction, job_id: str) -> Job | None:
    """Read a job and keep everybody else from changing it or its log until this transaction ends.

    Every transaction that appends to a job's log takes this lock first: so a job's entries commit in the order of
    their numbers.
    """
    await announce(tx)
    row = (await tx.connection.execute(select(jobs).where(jobs.c.id == job_id).with_for_update())).one_or_none()
    return None if row is None else rows.job(row)


async def change(tx: Transaction, job: Job, **values: Any) -> Job | None:
    """Compare and set: change the job if its status and revision are still those of `job`, else None."""
    for name, encode in _COLUMNS.items():
        if name in values:
            values[name] = encode(values[name])
    if "status" in values and values["status"] is not job.status:
        values["status_since"] = now()
    statement = (
        update(jobs)
        .where(jobs.c.id == job.id, jobs.c.status == job.status, jobs.c.revision == job.revision)
        .values(updated_at=now(), **values)
        .returning(jobs)
    )
    row = (await tx.connection.execute(statement)).one_or_none()
    return None if row is None else rows.job(row)


async def next_execution_number(tx: Transaction, job_id: str) -> int:
    """Count one more execution of a locked job."""
    statement = update(jobs).where(jobs.c.id == job_id).values(execution_count=jobs.c.execution_count + 1)
    number: int = (await tx.connection.execute(statement.returning(jobs.c.execution_count))).scalar_one()
    return number


async def set_notice(tx: Transaction, job: Job, notice: JobNotice | None) -> Job | None:
    """Compare and set the notice alone."""
    return await change(tx, job, notice=notice)


async def get_many(tx: Transaction, scope: Scope, job_ids: Sequence[str]) -> list[Job | None]:
    """Jobs by id within the scope, in the order asked for."""
    statement = select(jobs).where(jobs.c.id.in_(ids_in(tx, job_ids)), _visible(jobs, scope))
    by_id = {row.id: rows.job(row) for row in await tx.connection.execute(statement)}
    return [by_id.get(job_id) for job_id in job_ids]


async def get(tx: Transaction, scope: Scope, job_id: str) -> Job | None:
    """One job within the scope."""
    statement = select(jobs).where(jobs.c.id == job_id, _visible(jobs, scope))
    row = (await tx.connection.execute(statement)).one_or_none()
    return None if row is None else rows.job(row)


async def page(
    tx: Transaction,
    scope: Scope,
    wanted: JobFilter,
    field: JobOrderField,
    direction: OrderDirection,
    page: Page,
) -> PageOf[Job]:
    """Jobs within the scope that the filter lets through; positions are (time, id)."""
    key = Key((field.value, "id"), descending=direction is OrderDirection.DESC)
    return await page_of_list(tx, jobs, _listed(scope, wanted), key, page, rows.job)


async def count(tx: Transaction, scope: Scope, wanted: JobFilter) -> int:
    """How many jobs that list has."""
    statement = _listed(scope, wanted)(jobs).with_only_columns(func.count(), maintain_column_froms=True)
    total: int = (await tx.connection.execute(statement)).scalar_one()
    return total


async def counts_by_status(tx: Transaction, scope: Scope, wanted: JobFilter) -> dict[JobStatus, int]:
    """How many jobs of that list are in each status; statuses without a job are absent."""
    statement = _listed(scope, wanted)(jobs).with_only_columns(jobs.c.status, func.count()).group_by(jobs.c.status)
    return {JobStatus(row[0]): row[1] for row in await tx.connection.execute(statement)}


def _visible(table: FromClause, scope: Scope) -> ColumnElement[bool]:
    return and_(True) if scope.owner_id is None else table.c.owner_id == scope.owner_id  # noqa: FBT003  (SQL's true)


def _listed(scope: Scope, wanted: JobFilter) -> Callable[[FromClause], Select[Any]]:
    def build(table: FromClause) -> Select[Any]:
        statement = select(table).where(_visible(table, scope))
        for condition in _conditions(table, wanted):
            statement = statement.where(condition)
        return statement

    return build


def _conditions(table: FromClause, wanted: JobFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.statuses is not None:
        found.append(table.c.status.in_(wanted.statuses))
    if wanted.agent_ids is not None:
        found.append(table.c.agent_id.in_(wanted.agent_ids))
    if wanted.owner_ids is not None:
        found.append(table.c.owner_id.in_(wanted.owner_ids))
    if wanted.outcomes is not None:
        latest = select(executions.c.id).where(
            executions.c.id == table.c.latest_execution_id, executions.c.outcome.in_(wanted.outcomes)
        )
        found.append(latest.exists())
    if wanted.created_after is not None:
        found.append(table.c.created_at > wanted.created_after)
    if wanted.created_before is not None:
        found.append(table.c.created_at < wanted.created_before)
    if wanted.updated_after is not None:
        found.append(table.c.updated_at > wanted.updated_after)
    if wanted.in_execution_longer_than_seconds is not None:
        found.append(table.c.status == JobStatus.IN_EXECUTION)
        found.append(table.c.status_since < in_seconds(-wanted.in_execution_longer_than_seconds))
    for word in (wanted.search or "").split():
        pattern = "%" + word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        found.append(
            or_(
                table.c.title.ilike(pattern, escape="\\"),
                table.c.description.ilike(pattern, escape="\\"),
            )
        )
    return found
