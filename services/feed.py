"""Following the log live. The log is the truth; the bus only rings, so a lost ring costs a poll, not an event."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from db import feed as feed_rows
from db import logs as log_rows
from db.records import JobLogType
from services import cursors, ids
from services.refusals import SlowConsumerError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from db.records import JobLog
    from db.session import Database
    from services.ports import EventBus
    from services.viewer import Viewer

BATCH = 100


@dataclass(frozen=True)
class Feed:
    """Follows log entries: each once, in order, none missed.

    `poll_seconds` is how late a lost ring is noticed. A follower that takes longer than `patience_seconds` over one
    entry is let go. Until then it costs one batch of memory: the log keeps what it has not read.
    """

    database: Database
    bus: EventBus
    poll_seconds: float = 2.0
    patience_seconds: float = 30.0

    async def cursor(self) -> str:
        """Where the feed stands: everything at or before it is committed and can be read already."""
        async with self.database.read() as tx:
            return cursors.log_cursor(await feed_rows.watermark(tx))

    async def follow(
        self,
        viewer: Viewer,
        job_id: str | None,
        after: str | None,
        *,
        only: JobLogType | None = None,
        payload: bool = False,
    ) -> AsyncGenerator[JobLog]:
        """Yield the entries after a cursor, then each new one as it is committed, for ever.

        Of one job, or of every job that the viewer may see where `job_id` is None. Without a cursor: from now on.
        Ends at once where there is no such job for the viewer. Raises BadRequestError for a malformed cursor, and
        SlowConsumerError where the follower is too slow.
        """
        position = None if after is None else int(str(cursors.log_position(after)[0]))
        if job_id is not None and not ids.is_id(ids.JOB, job_id):
            return
        async with self.bus.listen(job_id) as bell:
            if position is None:
                position = await self._present(job_id)
            while True:
                batch, position = await self._next(viewer, job_id, position, only=only, payload=payload)
                for entry in batch:
                    given_at = time.monotonic()
                    yield entry
                    if time.monotonic() - given_at > self.patience_seconds:
                        raise SlowConsumerError(cursors.log_cursor(entry.seq))
                if not batch:
                    await bell.wait(self.poll_seconds)

    async def _present(self, job_id: str | None) -> int:
        async with self.database.read() as tx:
            return await (feed_rows.watermark(tx) if job_id is None else log_rows.newest(tx, job_id))

    async def _next(
        self, viewer: Viewer, job_id: str | None, position: int, *, only: JobLogType | None, payload: bool
    ) -> tuple[list[JobLog], int]:
        """The next entries, and the position after them."""
        async with self.database.read() as tx:
            # A job's entries commit in order. Across jobs they do not: nothing beyond the watermark is read yet.
            up_to = await feed_rows.watermark(tx) if job_id is None else None
            batch = await log_rows.after(
                tx,
                viewer.scope,
                position,
                limit=BATCH,
                job_id=job_id,
                up_to=up_to,
                only=only,
                payload=payload,
            )
        if len(batch) == BATCH or up_to is None:
            return batch, batch[-1].seq if batch else position
        return batch, max(position, up_to)
