"""Statements on the log. Entries are appended, never changed; purging empties payloads only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Insert,
    Integer,
    Select,
    and_,
    bindparam,
    func,
    select,
    update,
)

from db import rows
from db.chains import Link, Place
from db.models import executions, job_logs, jobs
from db.paging import (
    Key,
    Listing,
    by_ids,
    count_of_list,
    counts_of_parents,
    ids_in,
    page_of_list,
    pages_of_parents,
    prepared,
    unread,
)
from db.prepared import given
from db.records import (
    WHOLE_ENTRY,
    WITHOUT_PAYLOAD,
    ExecutionState,
    JobLog,
    JobLogFilter,
    JobLogType,
    Parts,
    PayloadState,
)
from db.types import BigId, ByteText, Id, clock, in_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db.records import LogEntry, Page, PageOf, Scope
    from db.session import Transaction

NO_FILTER = JobLogFilter()
OLDEST_FIRST = Key(("seq",))
# Where an entry stands in any list: read with whatever is asked for.
PLACE = Parts(OLDEST_FIRST.names)
REQUESTS = (JobLogType.AGENT_REQUEST, JobLogType.VALIDATOR_REQUEST)


def appending(log_id: str, job_id: str, entry: LogEntry, **bounded: Any) -> Link:
    """A link of a chain: append one entry, with some columns `bounded` in place of what it says.

    The chain begins with the job's lock, or the transaction holds it (`jobs.lock`) or has created the job.
    """
    values: dict[str, Any] = {
        "id": log_id,
        "job_id": job_id,
        "execution_id": entry.execution_id,
        "attempt": entry.attempt,
        "type": entry.type,
        "status": entry.status,
        "message": entry.message,
        "payload": entry.payload,
        "payload_state": entry.payload_state,
        "payload_bytes": entry.payload_bytes,
        "from_status": entry.from_status,
        "to_status": entry.to_status,
        "http_status": entry.http_status,
        "duration_ms": entry.duration_ms,
        "error_code": entry.error_code,
        "trace_id": entry.trace_id,
        "answers": entry.answers,
        **rows.actor_columns("actor", entry.actor),
        **bounded,
    }

    def build(place: Place) -> Insert:
        parameters = place.new(job_logs, values)
        owner = select(jobs.c.owner_id).where(jobs.c.id == parameters["job_id"]).scalar_subquery()
        entered = place.insert(job_logs, {"timestamp": clock(), "owner_id": owner, **parameters})
        return entered.returning(job_logs.c.seq)

    return Link("append", build, given(values), rings=job_id)


async def open_requests(tx: Transaction, execution_id: str) -> list[JobLog]:
    """The execution's request entries that no response entry closes, oldest first; without payloads."""
    closing = job_logs.alias("closing")
    statement = (
        _entries(job_logs, WITHOUT_PAYLOAD)
        .where(
            job_logs.c.execution_id == execution_id,
            job_logs.c.type.in_(REQUESTS),
            ~select(closing.c.seq).where(closing.c.answers == job_logs.c.id).exists(),
        )
        .order_by(job_logs.c.seq)
    )
    return list(map(rows.reader(JobLog, WITHOUT_PAYLOAD), await tx.connection.execute(statement)))


async def get_many(tx: Transaction, scope: Scope, log_ids: Sequence[str], parts: Parts) -> list[JobLog | None]:
    """Entries by id within the scope, in the order asked for."""
    parts |= {"id"}
    return await by_ids(tx, job_logs, _listed(scope, NO_FILTER, parts), log_ids, rows.reader(JobLog, parts))


async def payloads(tx: Transaction, scope: Scope, log_ids: Sequence[str]) -> list[Any]:
    """The payloads of entries within the scope, in the order asked for; None for an unknown one."""
    statement = select(job_logs.c.id, job_logs.c.payload).where(
        job_logs.c.id.in_(ids_in(tx, log_ids)), _visible(job_logs, scope)
    )
    by_id = {row.id: row.payload for row in await tx.connection.execute(statement)}
    return [by_id.get(log_id) for log_id in log_ids]


async def of_jobs(
    tx: Transaction, scope: Scope, job_ids: Sequence[str], wanted: JobLogFilter, page: Page, parts: Parts
) -> list[PageOf[JobLog]]:
    """The same page of many jobs' logs."""
    return await _of_parents(tx, scope, "job_id", job_ids, wanted, page, parts)


async def of_executions(
    tx: Transaction, scope: Scope, execution_ids: Sequence[str], wanted: JobLogFilter, page: Page, parts: Parts
) -> list[PageOf[JobLog]]:
    """The same page of many executions' logs."""
    return await _of_parents(tx, scope, "execution_id", execution_ids, wanted, page, parts)


async def _of_parents(
    tx: Transaction,
    scope: Scope,
    parent: str,
    parent_ids: Sequence[str],
    wanted: JobLogFilter,
    page: Page,
    parts: Parts,
) -> list[PageOf[JobLog]]:
    parts |= {parent} | PLACE
    listing, read = _listed(scope, wanted, parts), rows.reader(JobLog, parts)
    return await pages_of_parents(tx, job_logs, listing, parent, parent_ids, OLDEST_FIRST, page, read)


async def count_of_jobs(tx: Transaction, scope: Scope, job_ids: Sequence[str], wanted: JobLogFilter) -> list[int]:
    """How many entries each job's log has."""
    return await counts_of_parents(tx, job_logs, _listed(scope, wanted), "job_id", job_ids)


async def count_of_executions(
    tx: Transaction, scope: Scope, execution_ids: Sequence[str], wanted: JobLogFilter
) -> list[int]:
    """How many entries each execution's log has."""
    return await counts_of_parents(tx, job_logs, _listed(scope, wanted), "execution_id", execution_ids)


async def page(tx: Transaction, scope: Scope, wanted: JobLogFilter, page: Page, parts: Parts) -> PageOf[JobLog]:
    """Entries across jobs, oldest first."""
    parts |= PLACE
    return await page_of_list(
        tx, job_logs, _listed(scope, wanted, parts), OLDEST_FIRST, page, rows.reader(JobLog, parts)
    )


async def count(tx: Transaction, scope: Scope, wanted: JobLogFilter) -> int:
    """How many entries that list has."""
    return await count_of_list(tx, job_logs, _listed(scope, wanted))


async def newest(tx: Transaction, job_id: str) -> int:
    """The number of a job's newest entry, 0 where it has none. A job's entries commit in their order."""
    statement = select(func.max(job_logs.c.seq)).where(job_logs.c.job_id == job_id)
    return (await tx.connection.execute(statement)).scalar_one() or 0


async def after(
    tx: Transaction,
    scope: Scope,
    cursor: int,
    *,
    limit: int,
    job_id: str | None = None,
    up_to: int | None = None,
    only: JobLogType | None = None,
    payload: bool = False,
) -> list[JobLog]:
    """Entries numbered above the cursor (and at most `up_to`), oldest first: what a follower reads next."""
    conditions: dict[str, tuple[Any, ColumnElement[bool]]] = {
        "cursor": (cursor, job_logs.c.seq > bindparam("cursor", type_=BigId)),
        "job": (job_id, job_logs.c.job_id == bindparam("job", type_=Id)),
        "up_to": (up_to, job_logs.c.seq <= bindparam("up_to", type_=BigId)),
        "only": (only, job_logs.c.type == bindparam("only", type_=job_logs.c.type.type)),
        "owner": (scope.owner_id, job_logs.c.owner_id == bindparam("owner", type_=ByteText)),
    }
    given = {name: value for name, (value, _) in conditions.items() if value is not None}
    parts = WHOLE_ENTRY if payload else WITHOUT_PAYLOAD

    def build() -> Select[Any]:
        statement = _entries(job_logs, parts).where(*(conditions[name][1] for name in given))
        return statement.order_by(job_logs.c.seq).limit(bindparam("size", type_=Integer()))

    statement = prepared(tx, ("after", payload, *given), build, named=False)
    return list(map(rows.reader(JobLog, parts), await tx.fetch(statement, {**given, "size": limit})))


async def purgeable(tx: Transaction, older_than_seconds: float) -> int:
    """How many entries `purge` would empty."""
    statement = select(func.count()).select_from(job_logs).where(*_purgeable(older_than_seconds))
    return (await tx.connection.execute(statement)).scalar_one()


async def purge(tx: Transaction, older_than_seconds: float, *, after: int, limit: int) -> tuple[int, int | None]:
    """Empty the payloads of up to `limit` old entries of finished executions, numbered above `after`.

    Returns how many, and the number to go on after: None where there is nothing left.
    """
    found = select(job_logs.c.seq).where(job_logs.c.seq > after, *_purgeable(older_than_seconds))
    batch = list((await tx.connection.execute(found.order_by(job_logs.c.seq).limit(limit))).scalars())
    if batch:
        emptied = update(job_logs).where(job_logs.c.seq.in_(batch))
        await tx.connection.execute(emptied.values(payload=None, payload_state=PayloadState.PURGED))
    return len(batch), batch[-1] if len(batch) == limit else None


def _purgeable(older_than_seconds: float) -> tuple[ColumnElement[bool], ...]:
    finished = select(executions.c.id).where(executions.c.state == ExecutionState.FINISHED)
    return (
        job_logs.c.timestamp < in_seconds(-older_than_seconds),
        job_logs.c.payload.is_not(None),
        job_logs.c.execution_id.in_(finished),
    )


def _visible(table: FromClause, scope: Scope) -> ColumnElement[bool]:
    return and_(True) if scope.owner_id is None else table.c.owner_id == scope.owner_id  # noqa: FBT003  (SQL's true)


def _entries(table: FromClause, parts: Parts) -> Select[Any]:
    """Entries as `rows.reader` reads them."""
    return unread(table, rows.columns(JobLog, parts))


def _listed(scope: Scope, wanted: JobLogFilter, parts: Parts = PLACE) -> Listing:
    owned = scope.owner_id is not None
    values = {"owner": scope.owner_id} if owned else {}

    def build(table: FromClause) -> Select[Any]:
        statement = _entries(table, parts)
        if owned:
            statement = statement.where(table.c.owner_id == bindparam("owner", type_=ByteText))
        if wanted.types is not None:
            statement = statement.where(table.c.type.in_(wanted.types))
        if wanted.statuses is not None:
            statement = statement.where(table.c.status.in_(wanted.statuses))
        if wanted.execution_id is not None:
            statement = statement.where(table.c.execution_id == wanted.execution_id)
        if wanted.after is not None:
            statement = statement.where(table.c.timestamp > wanted.after)
        if wanted.before is not None:
            statement = statement.where(table.c.timestamp < wanted.before)
        return statement

    return Listing(build, values, (owned, parts) if wanted == NO_FILTER else None, named=False)
