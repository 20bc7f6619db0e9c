"""Following jobs live. An event is the log entry that tells of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import strawberry

from db.records import JobLog, JobLogType
from resolvers.context import Info
from resolvers.errors import NotFoundError
from resolvers.selection import selected
from services import cursors
from services.trace import operation_span
from services.viewer import Viewer


async def _check(info: Info, job_id: str | None, after: str | None) -> Viewer:
    """Refuse at once what could only ever be silence.

    This is all that a subscription's span is of: it may go on for days, and what it tells of belongs to other traces.
    """
    named = info.operation.name
    with operation_span("subscription", named.value if named else None):
        viewer = info.context.require_viewer()
        if after is not None:
            cursors.log_position(after)
        if job_id is not None and await info.context.services.jobs.get(viewer, job_id) is None:
            message = f"There is no job {job_id!r}."
            raise NotFoundError(message)
        return viewer


async def job_status_changed(
    info: Info, job_id: strawberry.ID | None = None, after: str | None = None
) -> AsyncGenerator[JobLog, None]:
    """Status changes of one job, or of every job that the viewer may see."""
    viewer = await _check(info, job_id, after)
    feed, offer = info.context.services.feed, info.context.offer
    return feed.follow(viewer, job_id, after, only=JobLogType.STATUS_CHANGE, offer=offer)


async def job_log_appended(info: Info, job_id: strawberry.ID, after: str | None = None) -> AsyncGenerator[JobLog, None]:
    """Each log entry of one job as it is committed."""
    viewer = await _check(info, job_id, after)
    payload = "payload" in selected(info, ("log",))
    feed, offer = info.context.services.feed, info.context.offer
    return feed.follow(viewer, job_id, after, payload=payload, offer=offer)


def cursor(root: JobLog) -> str:
    """Where to go on after this event."""
    return cursors.log_cursor(root.seq)


def entry(root: JobLog) -> JobLog:
    """The entry that the event tells of."""
    return root
