"""A process's leases: what it works on just now, and how long it surely may."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from db import executions as execution_rows
from services.executions.claims import Claim

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from db.session import Database

log = logging.getLogger(__name__)

# Leave a margin before the database's expiry: clocks tick differently, and a send takes a moment to start.
_MARGIN = 0.1


@dataclass
class Lease:
    """The process's hold on one execution, until a moment of its own monotonic clock."""

    until: float

    def holds(self) -> bool:
        return time.monotonic() < self.until


@dataclass
class Held:
    """A lease, and the task that works under it."""

    lease: Lease
    task: asyncio.Task[object]


class Leases:
    """All leases of one owner."""

    def __init__(self, database: Database, owner: str, seconds: float) -> None:
        self._database = database
        self.owner = owner
        self.seconds = seconds
        self._held: dict[str, Held] = {}
        self._looking: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def get(self, execution_id: str) -> Held | None:
        """The lease on an execution, if this owner has one."""
        return self._held.get(execution_id)

    @property
    def tasks(self) -> list[asyncio.Task[object]]:
        """What is being worked on."""
        return [held.task for held in self._held.values()]

    def lease(self, claimed_at: float) -> Lease:
        """The lease that a claim has brought which was asked for at that moment."""
        return Lease(claimed_at + self.seconds * (1 - _MARGIN))

    def hold(self, claim: Claim, lease: Lease, task: asyncio.Task[object]) -> None:
        """Renew the claim's lease from now on, and cancel the task once it is lost.

        To another task of this very owner too: a process that was late with its leases may have claimed it anew.
        """
        lost = self._held.get(claim.execution_id)
        if lost is not None:
            lost.task.cancel()
        self._held[claim.execution_id] = Held(lease, task)

    def drop(self, execution_id: str, task: asyncio.Task[object] | None) -> None:
        """Renew no more what the task worked on."""
        held = self._held.get(execution_id)
        if held is not None and held.task is task:
            del self._held[execution_id]

    async def keep(self, until: asyncio.Event) -> None:
        """Renew every third of the lease; whatever is no longer this owner's is cancelled."""
        while not until.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self.seconds / 3):
                    await until.wait()
                    return
            if self._held:
                await self._renew(dict(self._held))

    def heard(self, ids: frozenset[str]) -> None:
        """See at once whether these are still this owner's: others say that they have ended, or wait."""
        held = {execution_id: self._held[execution_id] for execution_id in ids if execution_id in self._held}
        if held:
            looking = asyncio.create_task(self._renew(held))
            self._looking.add(looking)
            looking.add_done_callback(self._looking.discard)

    async def _renew(self, held: Mapping[str, Held]) -> None:
        asked_at = time.monotonic()
        try:
            # A process that is stopped in the middle must keep no execution locked that others are to take over.
            async with self._database.begin(urgent=True, single=True) as tx:
                kept = await execution_rows.renew(tx, self.owner, list(held), self.seconds)
        except Exception:
            log.exception("leases were not renewed")
            return
        for execution_id, item in held.items():
            if execution_id in kept:
                item.lease.until = self.lease(asked_at).until
            elif not item.task.done() and self._held.get(execution_id) is item:
                item.task.cancel()

    async def release(self) -> None:
        """Let go of all, so that another process takes over at once."""
        if self._looking:
            await asyncio.wait(self._looking)
        try:
            async with self._database.begin() as tx:
                await execution_rows.release(tx, self.owner)
        except Exception:
            # The leases expire by themselves; another process only comes later.
            log.exception("leases were not released")
