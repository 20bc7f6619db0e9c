"""Runs executions as workflows of a Temporal cluster: one each, whose activities are the shared steps.

The database stays the truth. An execution waits there until its agent has room for it, is then handed over to a
workflow of its own id, and each activity claims it anew before it does the next step: its lease and its fence guard
the journal here as they do in process. What was handed over and is not heard of again is handed over again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from temporalio import activity
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from db import executions as execution_rows
from services.executions.claims import Claim
from services.ports import Reservation
from services.runners.leases import Lease, Leases
from services.runners.temporal_workflow import (
    CALL_AGENT,
    LOOK,
    VALIDATE,
    WORKFLOW,
    ExecutionWorkflow,
    Plan,
    Then,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from db.session import Database
    from services.executions.steps import Steps
    from services.runners.cluster import Cluster
    from services.runners.in_process import InProcess

log = logging.getLogger(__name__)

NAME = "temporal"
SWEEP_SECONDS = 1.0
_BATCH = 100
_RPC_SECONDS = 5.0
# How often Temporal is asked whether it is there while nothing else is asked of it.
_PROBE_SECONDS = 5.0
# An execution whose agent has no room, although it had some when it was handed over: rare, and nothing rings.
_NO_ROOM_SECONDS = 5.0
# What a worker that stops is still given is another one's; it may take a moment until nothing comes any more.
_ELSEWHERE_SECONDS = 1.0
# How soon a worker hears of a cancellation; each beat of each activity is a call.
_BEAT_SECONDS = 5.0
# A worker that died while it kept a workflow in memory is waited for this long; Temporal's own 10 s delay a take-over.
_STICKY_SECONDS = 2.0


@dataclass
class Temporal:
    """The runner of executions that belong to Temporal; with `works`, this process runs their steps too.

    `in_process` is told of everything as well: it drains what was started before the setting was changed.
    """

    database: Database
    cluster: Cluster
    in_process: InProcess
    works: bool = False
    lease_seconds: float = 30
    capacity: int = 1_000
    drain_seconds: float = 20
    name: str = NAME
    steps: Steps = field(init=False)

    def __post_init__(self) -> None:
        self._leases = Leases(self.database, f"worker-{secrets.token_hex(8)}", self.lease_seconds)
        self._client: Client | None = None
        self._work = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.problem: str | None = "not connected yet"
        """Why Temporal cannot be used just now; None while it can."""
        self._looked_at = -_PROBE_SECONDS

    # ---------------------------------------------------------------------------------------------------- the port

    @property
    def is_stopping(self) -> bool:
        """Whether the process is on its way out."""
        return self._stopping

    @property
    def in_flight(self) -> int:
        """How many executions this process works on."""
        return len(self._leases) + self.in_process.in_flight

    def reserve(self) -> Reservation | None:
        """Hand the execution over in its first transaction, unless Temporal is away: then it is queued."""
        if self.problem is not None or self._stopping:
            return None
        return Reservation(execution_rows.HANDED_OVER, self.lease_seconds, time.monotonic(), _nothing)

    def submit(self, execution_id: str, reservation: Reservation | None = None, begun: object | None = None) -> None:
        """Start the workflow of an execution that was handed over, or tell it that something has changed."""
        # Any worker may be the one who runs it: it reads what is committed.
        del begun
        if reservation is not None:
            self._send(self._start_or_take_back([(execution_id, CALL_AGENT)]))
            return
        self.in_process.submit(execution_id)
        self._work.set()
        self._send(self._tell(execution_id))

    def look_again(self) -> None:
        """An agent has room again."""
        self._work.set()
        self.in_process.look_again()

    def interrupt(self, execution_id: str) -> None:
        """Cancel the workflow of an execution that was ended from outside."""
        self.in_process.interrupt(execution_id)
        held = self._leases.get(execution_id)
        if held is not None:
            held.task.cancel()
        self._send(self._cancel(execution_id))

    def heard(self, ids: frozenset[str]) -> None:
        """Stop working on what has ended in another process: Temporal may be away, or slow to tell."""
        self._leases.heard(ids)
        self.in_process.heard(ids)

    # ------------------------------------------------------------------------------------------------------ working

    @asynccontextmanager
    async def run(self, steps: Steps) -> AsyncGenerator[None]:
        """Hand executions over and, with `works`, run their steps while the context is open.

        From `stop_accepting` on, steps under way have `drain_seconds` to finish.
        """
        self.steps = steps
        drained = asyncio.Event()
        handing_over = asyncio.create_task(self._hand_over_work())
        renewing = asyncio.create_task(self._leases.keep(drained))
        working = asyncio.create_task(self._be_worker()) if self.works else None
        try:
            yield
        finally:
            self.stop_accepting()
            # All end by themselves: cancelled in the middle of a transaction they would leave a connection behind.
            await handing_over
            if working is not None:
                await asyncio.wait((working,), timeout=self.drain_seconds)
                # Temporal has them cut short, but for those that it has lost sight of.
                for step in self._leases.tasks:
                    step.cancel()
                await working
            drained.set()
            await renewing
            await self._leases.release()
            if self._sending:
                await asyncio.wait(self._sending, timeout=_RPC_SECONDS)

    def stop_accepting(self) -> None:
        """Begin to drain: nothing new is started here from now on."""
        self._stopping = True
        self._work.set()
        self.in_process.stop_accepting()

    async def _reach(self) -> Client:
        """A client of a cluster that answered a moment ago. Raises where it does not."""
        if self._client is not None and self.problem is None and time.monotonic() - self._looked_at < _PROBE_SECONDS:
            return self._client
        try:
            async with asyncio.timeout(_RPC_SECONDS):
                if self._client is None:
                    self._client = await Client.connect(
                        self.cluster.address,
                        namespace=self.cluster.namespace,
                        identity=self.cluster.identity,
                        runtime=_runtime(),
                    )
                about = DescribeNamespaceRequest(namespace=self.cluster.namespace)
                await self._client.workflow_service.describe_namespace(about)
        except Exception as error:
            self._is_away(error)
            raise
        if self.problem is not None:
            log.info("Temporal is there")
        self.problem = None
        self._looked_at = time.monotonic()
        return self._client

    def _is_away(self, error: Exception) -> None:
        if self.problem is None:
            log.warning("Temporal at %s cannot be used: %r", self.cluster.address, error)
        self.problem = "not reachable"

    def _send(self, work: Coroutine[Any, Any, None]) -> None:
        """Tell Temporal something without keeping anybody waiting; what fails is mended by the sweep."""
        task = asyncio.create_task(work)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    # ------------------------------------------------------------------------------------------------- handing over

    @property
    def _handed_over_seconds(self) -> float:
        """After how long what was handed over and not begun is handed over again."""
        return 2 * self.lease_seconds

    async def _hand_over_work(self) -> None:
        """Hand over what is due, all the time: queued, or lost by the cluster or its workers."""
        while not self._stopping:
            self._work.clear()
            delay = SWEEP_SECONDS
            try:
                await self._reach()
                if await self._hand_some_over():
                    delay = 0.0
            except Exception as error:  # noqa: BLE001 - the database's driver and Temporal's raise whatever they like
                log.log(logging.DEBUG if self.problem is not None else logging.ERROR, "handing over failed: %r", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._work.wait()

    async def _hand_some_over(self) -> bool:
        async with self.database.begin() as tx:
            handed = await execution_rows.hand_over(
                tx, self.name, self._handed_over_seconds, self.lease_seconds, _BATCH
            )
        if handed:
            steps = [(item.execution_id, CALL_AGENT if item.queued else VALIDATE) for item in handed]
            await self._start_or_take_back(steps)
        return bool(handed) and self.problem is None

    async def _start_or_take_back(self, handed: list[tuple[str, str]]) -> None:
        """Start a workflow for each; what Temporal did not take is due again at once."""
        started = await asyncio.gather(*(self._start(*item) for item in handed), return_exceptions=True)
        failed = [execution_id for (execution_id, _), error in zip(handed, started, strict=True) if error is not None]
        if failed:
            self._is_away(next(error for error in started if isinstance(error, Exception)))
            async with self.database.begin() as tx:
                await execution_rows.take_back(tx, failed)

    async def _start(self, execution_id: str, step: str) -> None:
        """Start the execution's workflow; one that runs already is told to look. Raises where Temporal is away."""
        client = await self._reach()
        await client.start_workflow(
            WORKFLOW,
            Plan(execution_id, step, self.lease_seconds),
            id=execution_id,
            task_queue=self.cluster.task_queue,
            start_signal=LOOK,
            rpc_timeout=timedelta(seconds=_RPC_SECONDS),
        )

    async def _tell(self, execution_id: str) -> None:
        """Tell an execution's workflow to look, if there is one; else, the sweep starts one."""
        await self._ignoring_absence(lambda client: client.get_workflow_handle(execution_id).signal(LOOK))

    async def _cancel(self, execution_id: str) -> None:
        """Cancel an execution's workflow, if there is one; else, its steps find that it has ended."""
        await self._ignoring_absence(lambda client: client.get_workflow_handle(execution_id).cancel())

    async def _ignoring_absence(self, call: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
        if self._client is None or self.problem is not None:
            return
        try:
            async with asyncio.timeout(_RPC_SECONDS):
                await call(self._client)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                self._is_away(error)
        except TimeoutError as error:
            self._is_away(error)

    # --------------------------------------------------------------------------------------------------- the worker

    async def _be_worker(self) -> None:
        """Run steps until stopping; starts anew where the cluster was away for too long."""
        while not self._stopping:
            try:
                worker = self._worker(await self._reach())
                running = asyncio.create_task(worker.run())
                stopping = asyncio.create_task(self._stopped())
                await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
                stopping.cancel()
                if not running.done():
                    await worker.shutdown()
                await running
            except Exception as error:  # noqa: BLE001 - the worker's core raises whatever it likes
                if self.problem is None:
                    log.warning("the worker ended: %r", error)
                await asyncio.sleep(SWEEP_SECONDS)

    async def _stopped(self) -> None:
        while not self._stopping:  # noqa: ASYNC110 - the event rings for other reasons too
            await asyncio.sleep(0.1)

    def _worker(self, client: Client) -> Worker:
        return Worker(
            client,
            task_queue=self.cluster.task_queue,
            workflows=[ExecutionWorkflow],
            activities=[self.call_agent, self.validate],
            max_concurrent_activities=self.capacity,
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=_STICKY_SECONDS),
            max_heartbeat_throttle_interval=timedelta(seconds=_BEAT_SECONDS),
            graceful_shutdown_timeout=timedelta(seconds=self.drain_seconds),
        )

    @activity.defn(name=CALL_AGENT)
    async def call_agent(self, execution_id: str) -> Then:
        """Call the agent, if that is what comes next."""
        return await self._step(execution_id)

    @activity.defn(name=VALIDATE)
    async def validate(self, execution_id: str) -> Then:
        """Have the answer validated, if that is what comes next."""
        return await self._step(execution_id)

    async def _step(self, execution_id: str) -> Then:
        """Claim the execution, do its next step, and say what comes then. Which step it is, the journal says.

        A cancellation cuts the step short, but neither the claim nor the handing back: in between, an execution is
        nobody's until its lease expires.
        """
        if self._stopping:
            then = await self._then(execution_id)
            return replace(then, wait_seconds=max(then.wait_seconds, _ELSEWHERE_SECONDS))
        beating = asyncio.create_task(_beat(min(_BEAT_SECONDS, self.lease_seconds / 3)))
        try:
            claiming = asyncio.create_task(self._claim(execution_id))
            is_cancelled = await _ended(claiming)
            claimed = claiming.result()
            if claimed is not None:
                is_cancelled = await self._do(*claimed, is_cancelled=is_cancelled)
            if is_cancelled:
                raise asyncio.CancelledError
            return await self._then(execution_id)
        finally:
            beating.cancel()

    async def _claim(self, execution_id: str) -> tuple[Claim, Lease] | None:
        """Claim the execution, unless somebody has it, or its agent has no room."""
        claimed_at = time.monotonic()
        async with self.database.begin() as tx:
            claimed = await execution_rows.claim(tx, execution_id, self._leases.owner, self.lease_seconds)
        if claimed is None:
            return None
        if claimed.taken_over:
            self.steps.metrics.takeovers.inc()
        lease = self._leases.lease(claimed_at)
        return Claim(execution_id, claimed.fence, lease), lease

    async def _do(self, claim: Claim, lease: Lease, *, is_cancelled: bool) -> bool:
        """Do the next step and hand the execution back; returns whether the activity was cancelled by then.

        Raises what stopped the step, a bug or a database that is away: then the lease expires, and it is taken over.
        """
        step = asyncio.create_task(self.steps.step(claim), name=claim.execution_id)
        self._leases.hold(claim, lease, step)
        try:
            if is_cancelled:
                step.cancel()
            is_cancelled |= await _ended(step, cuts_short=True)
            if not step.cancelled():
                step.result()
            handing_back = asyncio.create_task(self._hand_back(claim))
            is_cancelled |= await _ended(handing_back)
            handing_back.result()
            return is_cancelled
        finally:
            self._leases.drop(claim.execution_id, step)

    async def _hand_back(self, claim: Claim) -> None:
        async with self.database.begin() as tx:
            await execution_rows.hand_back(tx, claim.execution_id, claim.fence, self._handed_over_seconds)

    async def _then(self, execution_id: str) -> Then:
        async with self.database.read() as tx:
            standing = await execution_rows.standing(tx, execution_id)
        if standing is None:
            return Then()
        step = VALIDATE if standing.answered else CALL_AGENT
        if standing.handed_over:
            return Then(step)
        # It waits for its validator; or its agent has no room; or another worker has it, and may have died.
        return Then(step, standing.due_seconds + 0.01 if standing.due_seconds > 0 else _NO_ROOM_SECONDS)


@cache
def _runtime() -> Runtime:
    """Temporal's core, one a process: what it logs goes into the process's log, in its form."""
    return Runtime(
        telemetry=TelemetryConfig(
            logging=LoggingConfig(
                filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
                forwarding=LogForwardingConfig(logger=logging.getLogger("temporalio.core")),
            )
        )
    )


async def _ended(task: asyncio.Task[Any], *, cuts_short: bool = False) -> bool:
    """Wait until a task has ended; returns whether the activity was cancelled meanwhile, which may cut it short."""
    is_cancelled = False
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            why = activity.cancellation_details()
            # Else, Temporal has lost sight of it, but the lease is ours: an answer under way is not thrown away.
            if why is None or why.cancel_requested or why.worker_shutdown:
                is_cancelled = True
                if cuts_short:
                    task.cancel()
    return is_cancelled


async def _beat(seconds: float) -> None:
    """Tell Temporal all the time that this activity is alive."""
    while True:
        activity.heartbeat()
        await asyncio.sleep(seconds)


def _nothing() -> None:
    """Nothing was set aside, so nothing is given back."""
