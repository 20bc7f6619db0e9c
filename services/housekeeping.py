"""What nobody needs any more goes, a little at a time, so that no lock is held for long."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from db import idempotency

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from db.session import Database

log = logging.getLogger(__name__)

# Some milliseconds a transaction.
BATCH = 500


@dataclass(frozen=True)
class Housekeeping:
    """Forgets idempotency keys once their day is over."""

    database: Database
    every_seconds: float = 600

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Keep house while the context is open."""
        closing = asyncio.Event()
        keeping = asyncio.create_task(self._keep(closing))
        try:
            yield
        finally:
            closing.set()
            # It ends by itself: cancelled in the middle of a transaction it would leave a connection behind.
            await keeping

    async def _keep(self, closing: asyncio.Event) -> None:
        while not closing.is_set():
            # Replicas that start together should not come at the same moment.
            pause = random.uniform(0.5, 1.0) * self.every_seconds  # noqa: S311  (jitter, not cryptography)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await closing.wait()
            try:
                while not closing.is_set() and await self.forget_some() == BATCH:
                    pass
            except Exception as error:  # noqa: BLE001 - the next time will do
                log.warning("old idempotency keys were not forgotten: %r", error)

    async def forget_some(self) -> int:
        """Forget one batch; returns how many there were."""
        async with self.database.begin() as tx:
            return await idempotency.forget_old(tx, BATCH)
