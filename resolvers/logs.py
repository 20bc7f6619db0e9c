"""Logs."""
# ruff: noqa: A002  (names of the contract)

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from db import records
from db.records import Execution, JobLog
from resolvers.context import Info
from resolvers.errors import ForbiddenError
from resolvers.inputs import JobLogFilter
from resolvers.jobs import read_executions
from resolvers.keyed import Reading, keyed
from resolvers.paging import Listed, listed
from resolvers.parts import LISTED, parts
from services import cursors


def cursors_of(entries: Sequence[JobLog]) -> list[str]:
    """The cursors of log entries, the same in every list of them and for the subscriptions."""
    return cursors.log_cursors([entry.seq for entry in entries])


def _wanted(filter: JobLogFilter | None) -> records.JobLogFilter:
    return filter.wanted() if filter else records.JobLogFilter()


@keyed("id")
def of_job(
    info: Info,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
    filter: JobLogFilter | None = None,
) -> Reading[Listed[JobLog]]:
    """A job's log."""
    viewer, service, wanted = info.context.require_viewer(), info.context.services.logs, _wanted(filter)
    page = cursors.page(cursors.log_position, first, after, last, before)
    read = partial(service.of_jobs, viewer, wanted=wanted, page=page, parts=parts(info, JobLog, *LISTED))
    return listed(info, read, partial(service.count_of_jobs, viewer, wanted=wanted), cursors_of)


@keyed("id")
def of_execution(
    info: Info,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
    filter: JobLogFilter | None = None,
) -> Reading[Listed[JobLog]]:
    """An execution's part of its job's log."""
    viewer, service, wanted = info.context.require_viewer(), info.context.services.logs, _wanted(filter)
    page = cursors.page(cursors.log_position, first, after, last, before)
    read = partial(service.of_executions, viewer, wanted=wanted, page=page, parts=parts(info, JobLog, *LISTED))
    return listed(info, read, partial(service.count_of_executions, viewer, wanted=wanted), cursors_of)


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
        await service.page(viewer, wanted, page, parts(info, JobLog, *LISTED)),
        cursors_of,
        partial(service.count, viewer, wanted),
    )


@keyed("execution_id")
def execution(info: Info) -> Reading[Execution | None]:
    """The execution that an entry is about."""
    return Reading(read_executions(info, parts(info, Execution, ())))
