"""Reading logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from db import logs as log_rows

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from db.records import JobLog, JobLogFilter, Page, PageOf, Parts
    from db.session import Database
    from services.viewer import Viewer

# An export reads this many entries at a time: a handful of the largest payloads fit in memory many times over.
EXPORT_BATCH = 50


@dataclass(frozen=True)
class Logs:
    """Use cases on log entries, of which the parts are read that are asked for."""

    database: Database

    async def get_many(self, viewer: Viewer, log_ids: Sequence[str], parts: Parts) -> Sequence[JobLog | None]:
        """Entries by id, in the order asked for; None for one that the viewer may not see."""
        async with self.database.read() as tx:
            return await log_rows.get_many(tx, viewer.scope, log_ids, parts)

    async def of_jobs(
        self, viewer: Viewer, job_ids: Sequence[str], wanted: JobLogFilter, page: Page, parts: Parts
    ) -> Sequence[PageOf[JobLog]]:
        """The same page of many jobs' logs, oldest first."""
        async with self.database.read() as tx:
            return await log_rows.of_jobs(tx, viewer.scope, job_ids, wanted, page, parts)

    async def count_of_jobs(self, viewer: Viewer, job_ids: Sequence[str], wanted: JobLogFilter) -> Sequence[int]:
        """How many entries each job's log has."""
        async with self.database.read() as tx:
            return await log_rows.count_of_jobs(tx, viewer.scope, job_ids, wanted)

    async def of_executions(
        self, viewer: Viewer, execution_ids: Sequence[str], wanted: JobLogFilter, page: Page, parts: Parts
    ) -> Sequence[PageOf[JobLog]]:
        """The same page of many executions' logs, oldest first."""
        async with self.database.read() as tx:
            return await log_rows.of_executions(tx, viewer.scope, execution_ids, wanted, page, parts)

    async def count_of_executions(
        self, viewer: Viewer, execution_ids: Sequence[str], wanted: JobLogFilter
    ) -> Sequence[int]:
        """How many entries each execution's log has."""
        async with self.database.read() as tx:
            return await log_rows.count_of_executions(tx, viewer.scope, execution_ids, wanted)

    async def page(self, viewer: Viewer, wanted: JobLogFilter, page: Page, parts: Parts) -> PageOf[JobLog]:
        """Entries across all jobs that the viewer may see, oldest first."""
        async with self.database.read() as tx:
            return await log_rows.page(tx, viewer.scope, wanted, page, parts)

    async def count(self, viewer: Viewer, wanted: JobLogFilter) -> int:
        """How many entries that list has."""
        async with self.database.read() as tx:
            return await log_rows.count(tx, viewer.scope, wanted)

    async def export(self, viewer: Viewer, job_id: str) -> AsyncGenerator[JobLog]:
        """A job's whole log with payloads, oldest first, in constant memory."""
        cursor = 0
        while True:
            async with self.database.read() as tx:
                batch = await log_rows.after(tx, viewer.scope, cursor, limit=EXPORT_BATCH, job_id=job_id, payload=True)
            for entry in batch:
                yield entry
            if len(batch) < EXPORT_BATCH:
                return
            cursor = batch[-1].seq
