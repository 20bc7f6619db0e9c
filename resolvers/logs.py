"""Logs. A payload is read only where it is selected: it may be a quarter of a mebibyte."""
# ruff: noqa: A002  (names of the contract)

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from db import records
from db.records import Execution, Job, JobLog
from resolvers.context import Info
from resolvers.errors import ForbiddenError
from resolvers.inputs import JobLogFilter
from resolvers.jobs import read_executions
from resolvers.paging import Listed, listed
from resolvers.selection import selects
from services import cursors


def cursor_of(entry: JobLog) -> str:
    """The cursor of a log entry, in every list of log entries and for the subscriptions."""
    return cursors.log_cursor(entry.seq)


def _wanted(filter: JobLogFilter | None) -> records.JobLogFilter:
    return filter.wanted() if filter else records.JobLogFilter()


def _payload(info: Info) -> bool:
    return selects(info, "nodes", "payload") or selects(info, "edges", "node", "payload")


def of_job(
    root: Job,
    info: Info,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
    filter: JobLogFilter | None = None,
) -> Awaitable[Listed[JobLog]]:
    """A job's log."""

    def pages() -> Callable[[str], Awaitable[Listed[JobLog]]]:
        viewer, service, wanted = info.context.require_viewer(), info.context.services.logs, _wanted(filter)
        page = cursors.page(cursors.log_position, first, after, last, before)
        read = partial(service.of_jobs, viewer, wanted=wanted, page=page, payload=_payload(info))
        return listed(info.context, read, partial(service.count_of_jobs, viewer, wanted=wanted), cursor_of)

    return info.context.once(info, pages)(root.id)


def of_execution(
    root: Execution,
    info: Info,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
    filter: JobLogFilter | None = None,
) -> Awaitable[Listed[JobLog]]:
    """An execution's part of its job's log."""

    def pages() -> Callable[[str], Awaitable[Listed[JobLog]]]:
        viewer, service, wanted = info.context.require_viewer(), info.context.services.logs, _wanted(filter)
        page = cursors.page(cursors.log_position, first, after, last, before)
        read = partial(service.of_executions, viewer, wanted=wanted, page=page, payload=_payload(info))
        return listed(info.context, read, partial(service.count_of_executions, viewer, wanted=wanted), cursor_of)

    return info.context.once(info, pages)(root.id)


async def job_logs(
    info: Info,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
    filter: JobLogFilter | None = None,
) -> Listed[JobLog]:
    """Log entries across all jobs, for admins."""
    viewer, service = info.context.require_viewer(), info.context.services.logs
    if not viewer.is_admin:
        raise ForbiddenError("Only an admin may read the log of all jobs.")
    wanted = _wanted(filter)
    page = cursors.page(cursors.log_position, first, after, last, before)
    return Listed(
        await service.page(viewer, wanted, page, payload=_payload(info)),
        cursor_of,
        partial(service.count, viewer, wanted),
    )


def execution(root: JobLog, info: Info) -> Awaitable[Execution | None] | None:
    """The execution that an entry is about."""
    if root.execution_id is None:
        return None
    return info.context.load(info.context.once(info, lambda: read_executions(info)), root.execution_id)
