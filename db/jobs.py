"""Statements on jobs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, FromClause, Select, Update, bindparam, func, insert, null, or_, select, update

from db import job_counts, rows
from db.chains import Link, Place, chained
from db.feed import announce, announcement
from db.models import executions, jobs
from db.paging import Key, Listing, by_ids, count_of_list, page_of_list, prepared, unread, unread_columns
from db.prepared import given
from db.records import WHOLE_JOB, Job, JobFilter, JobOrderField, JobStatus, OrderDirection, Parts
from db.types import ByteText, clock, in_seconds, now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from db.records import (
        Actor,
        Criterion,
        JobNotice,
        JsonValue,
        Page,
        PageOf,
        Scope,
    )
    from db.session import Transaction

NO_FILTER = JobFilter()
# By this a job is found: read with whatever is asked for.
PLACE = Parts({"id"})
_WHOLE = rows.columns(Job, WHOLE_JOB)
_COLUMNS: dict[str, Callable[[Any], JsonValue]] = {
    "acceptance_criteria": rows.criteria_json,
    "notice": rows.notice_json,
}
# What a job's record calls them.
_FIELDS = {"acceptance_criteria": "stored_criteria", "notice": "stored_notice"}


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
    whole = statement.returning(*unread_columns(jobs, _WHOLE))
    return rows.reader(Job, WHOLE_JOB)((await tx.connection.execute(whole)).one())


async def lock(tx: Transaction, job_id: str) -> Job | None:
    """Read a job and keep everybody else from changing it or its log until this transaction ends.

    Every transaction that appends to a job's log takes this lock first: so a job's entries commit in the order of
    their numbers.
    """
    found = await chained(tx, locking(job_id))
    return None if found is None else read_locked(found[0])


def locking(job_id: str, *, status: JobStatus | None = None, reads: bool = True, waits: bool = True) -> Link:
    """The same as the first link of a chain: of a job in that status, if one is given.

    Unless it `reads`, it brings nothing that is worth reading; unless it `waits`, it finds none that somebody has.
    """
    columns = _WHOLE if reads else ()
    which = {"id": job_id} | ({} if status is None else {"status": status})

    def build(place: Place) -> Select[Any]:
        announced = announcement() if place.postgresql else null()
        locked = unread(jobs, columns).add_columns(announced).where(*_same(place, which))
        return locked.with_for_update(of=jobs, skip_locked=not waits)

    return Link(("lock a job", reads, waits, *which), build, given(which, "old"), brings=len(columns) + 1)


def _same(place: Place, old: Iterable[str]) -> list[ColumnElement[bool]]:
    return [jobs.c[name] == parameter for name, parameter in place.new(jobs, old, "old").items()]


def read_locked(row: Sequence[Any]) -> Job:
    """The job of the row that the link brings."""
    return rows.reader(Job, WHOLE_JOB)(row[:-1])


async def change(tx: Transaction, job: Job, **values: Any) -> Job | None:
    """Compare and set: change the job if its status and revision are still those of `job`, else None."""
    found = await chained(tx, changing(as_read(job), **values))
    return None if found is None else changed(job, found[0], **values)


def as_read(job: Job) -> Mapping[str, Any]:
    """What is compared before a job is changed, as it was read."""
    return {"id": job.id, "status": job.status, "revision": job.revision}


def changing(old: Mapping[str, Any], /, **values: Any) -> Link:
    """Change the job that has these old values, its id among them: a link of a chain that has its lock."""
    stored = _stored(values)
    moves = "status" in stored and stored["status"] is not old["status"]

    def build(place: Place) -> Update:
        moved = {"status_since": clock()} if moves else {}
        changed = update(jobs).where(*_same(place, old), *place.when)
        return changed.values(updated_at=clock(), **moved, **place.new(jobs, stored)).returning(jobs.c.updated_at)

    return Link(("change a job", moves, *old, "to", *stored), build, given(old, "old") | given(stored))


def changed(job: Job, row: Sequence[Any], **values: Any) -> Job:
    """The job as `changing` has changed it, of which this is the row."""
    (updated_at,) = row
    stored = {_FIELDS.get(name, name): value for name, value in _stored(values).items()}
    return replace(job, updated_at=updated_at, **stored)


def _stored(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _COLUMNS[name](value) if name in _COLUMNS else value for name, value in values.items()}


async def set_notice(tx: Transaction, job: Job, notice: JobNotice | None) -> Job | None:
    """Compare and set the notice alone."""
    return await change(tx, job, notice=notice)


async def get_many(tx: Transaction, scope: Scope, job_ids: Sequence[str], parts: Parts = WHOLE_JOB) -> list[Job | None]:
    """Jobs by id within the scope, in the order asked for."""
    parts |= PLACE
    return await by_ids(tx, jobs, _listed(scope, NO_FILTER, parts), job_ids, rows.reader(Job, parts))


async def get(tx: Transaction, scope: Scope, job_id: str, parts: Parts = WHOLE_JOB) -> Job | None:
    """One job within the scope."""
    (found,) = await get_many(tx, scope, [job_id], parts)
    return found


async def page(
    tx: Transaction,
    scope: Scope,
    wanted: JobFilter,
    field: JobOrderField,
    direction: OrderDirection,
    page: Page,
    parts: Parts = WHOLE_JOB,
) -> PageOf[Job]:
    """Jobs within the scope that the filter lets through; positions are (time, id)."""
    key = Key((field.value, "id"), descending=direction is OrderDirection.DESC)
    parts = parts.union(key.names)
    return await page_of_list(tx, jobs, _listed(scope, wanted, parts), key, page, rows.reader(Job, parts))


async def count(tx: Transaction, scope: Scope, wanted: JobFilter) -> int:
    """How many jobs that list has."""
    if _is_kept(wanted):
        return sum((await counts_by_status(tx, scope, wanted)).values())
    return await count_of_list(tx, jobs, _listed(scope, wanted))


async def counts_by_status(tx: Transaction, scope: Scope, wanted: JobFilter) -> dict[JobStatus, int]:
    """How many jobs of that list are in each status; statuses without a job are absent."""
    if _is_kept(wanted):
        counts = await job_counts.by_status(tx, _owners(scope, wanted))
        return {status: jobs for status, jobs in counts.items() if wanted.statuses is None or status in wanted.statuses}
    listing = _listed(scope, wanted)

    def build() -> Select[Any, int]:
        counted = listing.build(jobs).with_only_columns(jobs.c.status, func.count().label("rows"))
        return counted.group_by(jobs.c.status)

    shape = None if listing.shape is None else ("by status", listing.shape)
    return {JobStatus(row[0]): row[1] for row in await tx.fetch(prepared(tx, shape, build), listing.values)}


def _is_kept(wanted: JobFilter) -> bool:
    """Whether the number of jobs that the filter lets through is known without counting them."""
    return replace(wanted, statuses=None, owner_ids=None) == NO_FILTER


def _owners(scope: Scope, wanted: JobFilter) -> Sequence[str] | None:
    """Whose jobs are within the scope and let through; None: everybody's."""
    if scope.owner_id is None:
        return wanted.owner_ids
    return [scope.owner_id] if wanted.owner_ids is None or scope.owner_id in wanted.owner_ids else []


def _listed(scope: Scope, wanted: JobFilter, parts: Parts = PLACE) -> Listing:
    owned = scope.owner_id is not None

    def build(table: FromClause) -> Select[Any]:
        statement = unread(table, rows.columns(Job, parts)).where(*_conditions(table, wanted))
        return statement.where(table.c.owner_id == bindparam("owner", type_=ByteText)) if owned else statement

    values = {"owner": scope.owner_id} if owned else {}
    return Listing(build, values, (owned, parts) if wanted == NO_FILTER else None, named=False)


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
