"""Runs executions as tasks of this process, under leases in the database: any number of processes share the work."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from db import executions as execution_rows
from db.records import Run
from services.executions.claims import Claim
from services.ports import FIRST_FENCE, Reservation
from services.runners.leases import Leases

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from db.session import Database
    from services.executions.steps import Steps

log = logging.getLogger(__name__)

NAME = "in_process"
# How long at most until an execution is noticed that another process left behind, beyond its lease.
SWEEP_SECONDS = 1.0
_SHORTEST_PAUSE = 0.025


@dataclass
class InProcess:
    """The runner of one process. `capacity` executions are in flight at most; the others wait in the database."""

    database: Database
    lease_seconds: float = 30
    capacity: int = 1_000
    name: str = NAME
    owner: str = field(default_factory=lambda: f"process-{secrets.token_hex(8)}")
    steps: Steps = field(init=False)
    """What is run; set by `run`, since the steps know the services that know the runner."""

    def __post_init__(self) -> None:
        self._leases = Leases(self.database, self.owner, self.lease_seconds)
        self._reserved = 0
        self._work = asyncio.Event()
        self._fruitless = 0
        self._accepting = False
        self._stopping = False

    # ---------------------------------------------------------------------------------------------------- the port

    def reserve(self) -> Reservation | None:
        """Make room for one execution right here, unless the process is full, stopping, or runs none."""
        if not self._accepting or self.in_flight >= self.capacity:
            return None
        self._reserved += 1
        return Reservation(self.owner, self.lease_seconds, time.monotonic(), self._unreserve)

    def _unreserve(self) -> None:
        self._reserved -= 1

    def submit(self, execution_id: str, reservation: Reservation | None = None, begun: object | None = None) -> None:
        """Run an execution whose lease was taken with a reservation; without one, look for work soon."""
        if reservation is None:
            self._work.set()
            return
        self._unreserve()
        if self._accepting and self._leases.get(execution_id) is None:
            self._spawn(execution_id, FIRST_FENCE, reservation.taken_at, begun if isinstance(begun, Run) else None)
        # Else the process is stopping: its leases are given up, and another one takes over.

    def interrupt(self, execution_id: str) -> None:
        """Stop working on an execution that was ended from outside."""
        held = self._leases.get(execution_id)
        if held is not None:
            held.task.cancel()

    def heard(self, ids: frozenset[str]) -> None:
        """Stop working on what has ended in another process."""
        self._leases.heard(ids)

    def look_again(self) -> None:
        """An agent has room again, or something else may have changed that claims wait for."""
        self._fruitless = 0
        self._work.set()

    # ------------------------------------------------------------------------------------------------------ working

    @property
    def is_stopping(self) -> bool:
        """Whether the process is on its way out."""
        return self._stopping

    @property
    def in_flight(self) -> int:
        """How many executions this process works on, or has made room for."""
        return len(self._leases) + self._reserved

    @asynccontextmanager
    async def run(self, steps: Steps, drain_seconds: float) -> AsyncGenerator[None]:
        """Run executions while the context is open.

        Then take no more, let those in flight finish for `drain_seconds`, and let go of the rest, so that another
        process takes over at once.
        """
        self.steps = steps
        self._accepting = True
        drained = asyncio.Event()
        claiming = asyncio.create_task(self._claim_work())
        renewing = asyncio.create_task(self._leases.keep(drained))
        try:
            yield
        finally:
            self.stop_accepting()
            # Both end by themselves: cancelled in the middle of a transaction they would leave a connection behind.
            await claiming
            await self._drain(drain_seconds)
            drained.set()
            await renewing
            await self._leases.release()

    def stop_accepting(self) -> None:
        """Begin to drain: nothing new is started here from now on."""
        self._accepting = False
        self._stopping = True
        self._work.set()

    async def _drain(self, seconds: float) -> None:
        tasks = self._leases.tasks
        if not tasks:
            return
        _, unfinished = await asyncio.wait(tasks, timeout=seconds)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)

    def _spawn(self, execution_id: str, fence: int, claimed_at: float, begun: Run | None = None) -> None:
        lease = self._leases.lease(claimed_at)
        claim = Claim(execution_id, fence, lease)
        self._leases.hold(claim, lease, asyncio.create_task(self._run_one(claim, begun), name=execution_id))

    async def _run_one(self, claim: Claim, begun: Run | None) -> None:
        try:
            await self.steps.run(claim, begun)
        except asyncio.CancelledError:
            raise
        except Exception:
            # A bug, or the database is away. The lease is not renewed any more: the execution is taken over.
            log.exception("execution %s stopped", claim.execution_id)
        finally:
            self._leases.drop(claim.execution_id, asyncio.current_task())
            self.look_again()

    async def _claim_work(self) -> None:
        """Claim what is due, all the time: queued, done waiting, or left behind by a process that died."""
        while self._accepting:
            delay = SWEEP_SECONDS
            self._work.clear()
            try:
                delay = await self._claim_some()
            except Exception:
                log.exception("looking for work failed")
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._work.wait()

    async def _claim_some(self) -> float:
        """Claim as much as there is room for; returns how long to wait before looking again."""
        room = self.capacity - self.in_flight
        if room <= 0:
            return SWEEP_SECONDS
        async with self.database.read() as tx:
            next_due = await execution_rows.next_due_seconds(tx, self.name)
        if next_due is None or next_due > 0:
            return min(SWEEP_SECONDS, max(_SHORTEST_PAUSE, next_due or SWEEP_SECONDS))
        claimed_at = time.monotonic()
        async with self.database.begin() as tx:
            claimed = await execution_rows.claim_due(
                tx, self.name, self.owner, self.lease_seconds, min(room, 100), running=list(self._leases)
            )
        for item in claimed:
            if item.taken_over:
                self.steps.metrics.takeovers.inc()
            self._spawn(item.execution_id, item.fence, claimed_at)
        if claimed:
            self._fruitless = 0
            return 0.0
        # What is due but finds no room at its agent is looked for less and less often: who makes room here rings.
        self._fruitless = min(self._fruitless + 1, 5)
        return min(SWEEP_SECONDS, _SHORTEST_PAUSE * 2.0**self._fruitless)
