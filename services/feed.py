"""Following the log live. The log is the truth; the bus only rings, so a lost ring costs a poll, not an event."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from db import feed as feed_rows
from db import logs as log_rows
from services import cursors, ids
from services.refusals import SlowConsumerError
from services.tail import BATCH, KEPT, KEPT_WITH_PAYLOADS, Batch, Offer, Tail

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from db.records import JobLog, JobLogType, Scope
    from db.session import Database
    from services.ports import EventBus
    from services.viewer import Viewer


@dataclass(frozen=True)
class _Asked:
    """What a follower asks of the log: who asks the same is told the same."""

    scope: Scope
    job_id: str | None
    only: JobLogType | None
    payload: bool


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
    _tails: dict[_Asked, Tail] = field(default_factory=dict[_Asked, Tail], init=False, repr=False, compare=False)

    @property
    def sharing(self) -> int:
        """How many followers are not on the bus themselves, because another one's place there serves them too."""
        return sum(tail.followers - 1 for tail in self._tails.values())

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
        offer: Offer | None = None,
    ) -> AsyncGenerator[JobLog]:
        """Yield the entries after a cursor, then each new one as it is committed, for ever.

        Of one job, or of every job that the viewer may see where `job_id` is None. Without a cursor: from now on.
        Ends at once where there is no such job for the viewer. Raises BadRequestError for a malformed cursor, and
        SlowConsumerError where the follower is too slow.

        Who follows the same is yielded the very same entries, where they came after it did: an entry that is another
        object was read for this follower alone.

        What comes while the follower waits for it is given to `offer` first; what that takes is not yielded. So an
        entry comes to many without waking any.
        """
        position = None if after is None else int(str(cursors.log_position(after)[0]))
        if job_id is not None and not ids.is_id(ids.JOB, job_id):
            return
        asked = _Asked(viewer.scope, job_id, only, payload)
        async with self._tail(asked) as tail:
            came_at = tail.end or 0
            if position is None:
                position = await self._present(job_id)
            while True:
                if tail.end is None or position >= tail.end:
                    position = await tail.more(position, offer)
                    continue
                batch = tail.after(position) if position >= came_at else None
                if batch is None:
                    batch = await self._alone(asked, position, tail.end)
                for entry in batch.entries:
                    given_at = time.monotonic()
                    yield entry
                    if time.monotonic() - given_at > self.patience_seconds:
                        raise SlowConsumerError(cursors.log_cursor(entry.seq))
                position = batch.up_to

    @asynccontextmanager
    async def _tail(self, asked: _Asked) -> AsyncGenerator[Tail]:
        """Follow a tail while the context is open: the one that is there, or a new one."""
        tail = self._tails.get(asked)
        if tail is None or tail.has_failed:
            kept = KEPT_WITH_PAYLOADS if asked.payload else KEPT
            tail = self._tails[asked] = Tail(partial(self._read, asked), kept=kept, poll_seconds=self.poll_seconds)
            tail.begin(self.bus.listen(asked.job_id), partial(self._present, asked.job_id))
        tail.followers += 1
        try:
            yield tail
        finally:
            tail.followers -= 1
            if not tail.followers:
                if self._tails.get(asked) is tail:
                    del self._tails[asked]
                await tail.stop()

    async def _present(self, job_id: str | None) -> int:
        async with self.database.read() as tx:
            return await (feed_rows.watermark(tx) if job_id is None else log_rows.newest(tx, job_id))

    async def _alone(self, asked: _Asked, position: int, known: int) -> Batch:
        """Read for a follower that is not where the others are; the log is known up to `known` already."""
        batch = await self._read(asked, position)
        # What is all there is reaches at least as far as what was known before it was read.
        return batch if len(batch.entries) == BATCH else Batch(batch.entries, max(batch.up_to, known))

    async def _read(self, asked: _Asked, position: int) -> Batch:
        async with self.database.read() as tx:
            # A job's entries commit in order. Across jobs they do not: nothing beyond the watermark is read yet.
            up_to = await feed_rows.watermark(tx) if asked.job_id is None else None
            entries = await log_rows.after(
                tx,
                asked.scope,
                position,
                limit=BATCH,
                job_id=asked.job_id,
                up_to=up_to,
                only=asked.only,
                payload=asked.payload,
            )
        if len(entries) == BATCH or up_to is None:
            return Batch(entries, entries[-1].seq if entries else position)
        return Batch(entries, max(position, up_to))
