"""What nobody needs any more goes, and what was noted is added up: a little at a time, so that no lock is held long."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from db import idempotency, job_counts, rates

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from db.session import Database, Transaction

log = logging.getLogger(__name__)

# Some milliseconds a transaction.
BATCH = 500


class Chore(NamedTuple):
    """What is done a batch at a time: `do` returns how many there were."""

    what: str
    do: Callable[[Transaction, int], Awaitable[int]]


@dataclass(frozen=True)
class Housekeeping:
    """Forgets idempotency keys once their day is over, and who has not acted lately; adds up the numbers of jobs.

    Every process does all of it: whichever comes first finds the work.
    """

    database: Database
    forget_every_seconds: float = 600
    # Whoever counts jobs reads what was not added up yet: at 300 executions a second 6,000 rows, in a millisecond.
    add_every_seconds: float = 5

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Keep house while the context is open."""
        closing = asyncio.Event()
        keeping = [
            asyncio.create_task(self._keep(closing, chore, every_seconds))
            for chore, every_seconds in (
                (Chore("forgetting idempotency keys", idempotency.forget_old), self.forget_every_seconds),
                (Chore("forgetting who has not acted lately", rates.forget_idle), self.forget_every_seconds),
                (Chore("adding up the numbers of jobs", job_counts.fold), self.add_every_seconds),
            )
        ]
        try:
            yield
        finally:
            closing.set()
            # They end by themselves: cancelled in the middle of a transaction they would leave a connection behind.
            await asyncio.wait(keeping)

    async def _keep(self, closing: asyncio.Event, chore: Chore, every_seconds: float) -> None:
        while not closing.is_set():
            # Replicas that start together should not come at the same moment.
            pause = random.uniform(0.5, 1.0) * every_seconds  # noqa: S311  (jitter, not cryptography)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await closing.wait()
            try:
                while not closing.is_set() and await self._do_some(chore) == BATCH:
                    pass
            except Exception as error:  # noqa: BLE001 - the next time will do
                log.warning("%s failed: %r", chore.what, error)

    async def _do_some(self, chore: Chore) -> int:
        async with self.database.begin() as tx:
            return await chore.do(tx, BATCH)
