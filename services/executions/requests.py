"""What people do with executions: start one, validate its answer again, cancel it, wait for it, look at it."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from db import agents as agent_rows
from db import executions as execution_rows
from db import idempotency
from db import jobs as job_rows
from db import validations as validation_rows
from db.records import (
    EVERYTHING,
    WHOLE_EXECUTION,
    ExecutionOutcome,
    ExecutionState,
    JobStatus,
    PinnedAgent,
    PinnedJob,
)
from services import cursors, ids, inputs
from services.executions.comparison import compare
from services.executions.steps import request_digest_of
from services.jobs import JobResult, conflict, lock_visible, reason_problem, stale
from services.lifecycle import Cause, JobAction, Situation, refusal
from services.ports import InputInvalidError
from services.refusals import ErrorCode, Refusal, invalid, not_found
from services.strict_json import digest
from services.trace import current_trace_id
from services.viewer import admins_only

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db.records import (
        Agent,
        Criterion,
        Execution,
        Job,
        JsonValue,
        LiveExecutions,
        Page,
        PageOf,
        Parts,
        Run,
        Validation,
    )
    from db.session import Database, Transaction
    from services.agents import EndpointCheck
    from services.executions.comparison import CriterionComparison
    from services.executions.settle import Settling
    from services.executions.steps import Steps
    from services.jobs import Jobs
    from services.lifecycle import Lifecycle
    from services.ports import EventBus, Reservation, Runner
    from services.viewer import Viewer

EXECUTE_JOB = "executeJob"
LONGEST_WAIT_SECONDS = 300
# A ring may be lost between processes: look again this often.
_POLL_SECONDS = 1.0
# In these, an execution's bell is rung.
_RINGING = (ExecutionState.FINISHED, ExecutionState.WAITING_RETRY)
# How often a start is tried anew because the job changed while its request was compared.
_START_TRIES = 5


@dataclass(frozen=True)
class Execute:
    """One press of Execute."""

    job_id: str
    wait_seconds: float = 30
    idempotency_key: str | None = None
    expected_revision: int | None = None
    force: bool = False
    reason: str | None = None


@dataclass(frozen=True)
class ExecuteResult:
    """What became of it: the job and the execution as they stand when the wait ends."""

    job: Job | None
    execution: Execution | None = None
    replayed: bool = False
    user_errors: tuple[Refusal, ...] = ()


@dataclass(frozen=True)
class ExecutionPreview:
    """What Execute would send and to whom, with nothing sent.

    `request` has the keys method, url (for admins alone) and body, redacted as in the log; None where none could be
    built, and then `input_errors` says why.
    """

    request: JsonValue
    input_errors: tuple[str, ...]
    endpoint_allowed: bool
    undecidable_criteria: tuple[Criterion, ...]
    worst_case_cost_usd: float | None = None
    """The most that validating the answer may cost, by list prices; None where they are not known."""


@dataclass(frozen=True)
class _Started:
    """What the first transaction did: `leased` where this process holds the lease of the new execution."""

    result: ExecuteResult
    run: Run | None = None
    """The new execution, if there is one."""
    leased: bool = False
    superseded_id: str | None = None


@dataclass(frozen=True)
class _Repeat:
    """Whether the next request equals the last one sent, and all that this was worked out from."""

    sent_id: str
    job_revision: int
    agent: Agent
    previous_id: str | None
    equal: bool


class _OverloadedError(Exception):
    """Nothing more may be queued; what the transaction has written is taken back."""


class _NeedsDigestError(Exception):
    """Whether the request equals the last one must be worked out first, outside of any transaction."""


@dataclass(frozen=True)
class Executions:
    """Use cases on executions."""

    database: Database
    jobs: Jobs
    lifecycle: Lifecycle
    settling: Settling
    steps: Steps
    runner: Runner
    bus: EventBus
    validation_deadline_seconds: float = 3600
    largest_queue: int = 10_000
    _no_waiting: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    # ----------------------------------------------------------------------------------------------------- execute

    async def execute(self, viewer: Viewer, command: Execute) -> ExecuteResult:
        """Start an execution and wait for it a while. Leaving early changes nothing."""
        refused = _command_problem(viewer, command)
        if refused is not None:
            return await self._refused(viewer, command.job_id, refused)
        # Shielded: a client that leaves in the middle must not leave a commit behind that nobody runs.
        result = await asyncio.shield(asyncio.ensure_future(self._start(viewer, command)))
        return await self._after(result, command.wait_seconds)

    async def _start(self, viewer: Viewer, command: Execute) -> ExecuteResult:
        """Claim the job and commit the execution; then hand it to the runner."""
        reservation = self.runner.reserve()
        started: _Started | None = None
        try:
            repeat: _Repeat | None = None
            for _ in range(_START_TRIES):
                try:
                    async with self.database.begin() as tx:
                        begun = await self._start_in(tx, viewer, command, reservation, repeat)
                except _NeedsDigestError:
                    repeat = await self._repeat(command.job_id)
                else:
                    # Only now: a commit that failed has given no lease.
                    started = begun
                    break
        except _OverloadedError:
            message = "Too many executions wait for their turn: try again later. Nothing was changed."
            return await self._refused(viewer, command.job_id, Refusal(ErrorCode.OVERLOADED, message))
        finally:
            if reservation is not None and (started is None or not started.leased):
                reservation.release()
        if started is None:
            refused = Refusal(ErrorCode.STALE_REVISION, "The job keeps changing meanwhile: try again.")
            return await self._refused(viewer, command.job_id, refused)
        if started.superseded_id is not None:
            self.runner.interrupt(started.superseded_id)
        if started.run is not None:
            self.runner.submit(started.run.execution.id, reservation if started.leased else None, started.run)
        return started.result

    async def _start_in(
        self,
        tx: Transaction,
        viewer: Viewer,
        command: Execute,
        reservation: Reservation | None,
        repeat: _Repeat | None,
    ) -> _Started:
        key = command.idempotency_key
        request_digest = _digest_of(command)
        if key is not None:
            seen = await idempotency.recall(tx, viewer.id, EXECUTE_JOB, key)
            if seen is not None:
                job = await job_rows.get(tx, viewer.scope, seen.job_id)
                if seen.request_digest != request_digest:
                    return _refusing(job, conflict(key))
                run = await execution_rows.run(tx, seen.execution_id or "")
                return _Started(ExecuteResult(job, run.execution if run else None, replayed=True))
        job = await lock_visible(tx, viewer, command.job_id)
        if job is None:
            return _refusing(None, not_found("job", command.job_id, "jobId"))
        agent = None if job.agent_id is None else await agent_rows.get(tx, job.agent_id)
        action = JobAction.FORCE_EXECUTE if command.force else JobAction.EXECUTE
        refused = refusal(action, viewer, Situation(job, agent, None)) or stale(job, command.expected_revision)
        if refused is not None or agent is None:
            return _refusing(job, refused)
        started = await self._create(tx, viewer, command, job, agent, reservation, repeat)
        if key is not None and started.result.execution is not None:
            await idempotency.remember(
                tx,
                subject=viewer.id,
                mutation=EXECUTE_JOB,
                key=key,
                request_digest=request_digest,
                job_id=job.id,
                execution_id=started.result.execution.id,
            )
        return started

    async def _create(
        self,
        tx: Transaction,
        viewer: Viewer,
        command: Execute,
        job: Job,
        agent: Agent,
        reservation: Reservation | None,
        repeat: _Repeat | None,
    ) -> _Started:
        """Insert the execution with all that it pins, and move the job, which is locked, to IN_EXECUTION."""
        # Only then is there a live one.
        is_live = job.status is JobStatus.IN_EXECUTION
        superseded = await execution_rows.live_of_job(tx, job.id) if is_live else None
        if superseded is not None:
            job = await self.settling.end_from_outside(
                tx,
                job,
                superseded,
                ExecutionOutcome.SUPERSEDED,
                viewer.actor,
                "Superseded by a forced execution",
            )
        previous = await execution_rows.last_judged(tx, job.id) if job.latest_execution_id else None
        previous_id = _to_mend(previous)
        sent = await execution_rows.last_sent(tx, job.id) if job.latest_execution_id else None
        idempotency_key = _key_for(job, agent, sent, previous_id, repeat)
        execution_id = ids.new_id(ids.EXECUTION)
        number = job.execution_count + 1
        cause = Cause.FORCE_EXECUTE if command.force else Cause.EXECUTE
        message = f"Execution {number} started" + (" by force" if command.force else "")
        trace_id, status = current_trace_id.get(), JobStatus.IN_EXECUTION
        entry = {"execution_id": execution_id, "trace_id": trace_id}
        moved = {"latest_execution_id": execution_id, "execution_count": number, "result": None, "notice": None}
        creating = partial(
            execution_rows.create,
            tx,
            execution_id=execution_id,
            job=job,
            number=number,
            requested_by=viewer.actor,
            trace_id=trace_id,
            runner=self.runner.name,
            pinned_job=pin_job(job),
            pinned_agent=pin_agent(agent),
            callee=agent,
            previous_execution_id=previous_id,
            idempotency_key=idempotency_key,
            validation_seed=secrets.token_hex(16),
            then=await self.lifecycle.changing(
                job_rows.as_read(job), status, cause, viewer.actor, message, entry=entry, **moved
            ),
        )
        lease = None if reservation is None else (reservation.owner, reservation.lease_seconds)
        created = None if lease is None else await creating(lease=lease)
        if created is None:
            # Its agent has no slot just now.
            lease = None
            if await execution_rows.queued_beyond(tx, self.largest_queue):
                raise _OverloadedError
            created = await creating(lease=None)
        if created is None:
            fault = f"{job.id} changed under its lock"
            raise RuntimeError(fault)
        run, (change, _) = created
        job = job_rows.changed(job, change, status=status, **moved)
        if command.force:
            about = {"superseded": superseded.execution.id if superseded else None}
            await self.jobs.log_admin_action(
                tx, job, viewer.actor, JobAction.FORCE_EXECUTE, command.reason or "", about
            )
        return _Started(
            ExecuteResult(job, run.execution),
            run,
            leased=lease is not None,
            superseded_id=superseded.execution.id if superseded else None,
        )

    async def _repeat(self, job_id: str) -> _Repeat | None:
        """Work out whether executing the job now would send the request that was sent last."""
        async with self.database.read() as tx:
            job = await job_rows.get(tx, EVERYTHING, job_id)
            agent = None if job is None or job.agent_id is None else await agent_rows.get(tx, job.agent_id)
            sent = await execution_rows.last_sent(tx, job_id)
            previous_id = _to_mend(await execution_rows.last_judged(tx, job_id))
        if job is None or agent is None or sent is None:
            return None
        executor = self.steps.executors.get(agent.executor)
        equal = False
        if executor is not None:
            try:
                request = await self.steps.prepare_from(pin_job(job), pin_agent(agent), previous_id, executor)
                equal = request_digest_of(request) == sent.request_digest
            except InputInvalidError:
                equal = False
        return _Repeat(sent.execution.id, job.revision, agent, previous_id, equal)

    # ------------------------------------------------------------------------------------------- validate again, cancel

    async def retry_validation(self, viewer: Viewer, job_id: str, wait_seconds: float) -> ExecuteResult:
        """Judge the kept answer of the latest execution again, now, without calling the agent."""
        refused = _wait_problem(wait_seconds)
        if refused is not None:
            return await self._refused(viewer, job_id, refused)
        result = await asyncio.shield(asyncio.ensure_future(self._retry(viewer, job_id)))
        return await self._after(result, wait_seconds)

    async def _retry(self, viewer: Viewer, job_id: str) -> ExecuteResult:
        async with self.database.begin() as tx:
            job = await lock_visible(tx, viewer, job_id)
            if job is None:
                return ExecuteResult(None, user_errors=(not_found("job", job_id, "jobId"),))
            run = await execution_rows.run(tx, job.latest_execution_id or "")
            latest = None if run is None else run.execution
            refused = refusal(JobAction.RETRY_VALIDATION, viewer, Situation(job, None, latest))
            if refused is not None or run is None:
                return ExecuteResult(job, latest, user_errors=() if refused is None else (refused,))
            if job.status is JobStatus.IN_EXECUTION:
                # Waiting: now. Validating: join it.
                run = await execution_rows.retry_now(tx, run.execution.id, run.fence) or run
            else:
                reopened = await execution_rows.reopen(
                    tx,
                    run.execution.id,
                    job,
                    runner=self.runner.name,
                    deadline_seconds=self.validation_deadline_seconds,
                    trace_id=current_trace_id.get(),
                )
                if reopened is None:
                    fault = f"{run.execution.id} changed under its job's lock"
                    raise RuntimeError(fault)
                run = reopened
                job = await self.lifecycle.change(
                    tx,
                    job,
                    JobStatus.IN_EXECUTION,
                    Cause.RETRY_VALIDATION,
                    viewer.actor,
                    f"The answer of execution {run.execution.number} is validated again",
                    entry={"execution_id": run.execution.id, "trace_id": run.trace_id},
                    notice=None,
                )
        self.runner.submit(run.execution.id)
        return ExecuteResult(job, run.execution)

    async def cancel(self, viewer: Viewer, job_id: str, execution_id: str | None, reason: str | None) -> JobResult:
        """Cancel the live execution: the job is as before Execute."""
        if reason is not None:
            refused = inputs.text(reason, ("reason",), inputs.REASON_CHARACTERS)
            if refused is not None:
                return JobResult(await self.jobs.get(viewer, job_id), (refused,))
        async with self.database.begin() as tx:
            job = await lock_visible(tx, viewer, job_id)
            if job is None:
                return JobResult(None, (not_found("job", job_id, "jobId"),))
            run = await execution_rows.live_of_job(tx, job.id)
            refused = refusal(JobAction.CANCEL, viewer, Situation(job, None, None))
            if refused is None and run is not None and execution_id not in {None, run.execution.id}:
                message = f"{execution_id!r} is not the live execution: nothing was cancelled."
                refused = Refusal(ErrorCode.NOT_ALLOWED_IN_STATUS, message, ("executionId",))
            if refused is not None or run is None:
                return JobResult(job, () if refused is None else (refused,))
            message = f"Cancelled by {viewer.name}" + (f": {reason}" if reason else "")
            job = await self.settling.end_from_outside(tx, job, run, ExecutionOutcome.CANCELLED, viewer.actor, message)
        self.runner.interrupt(run.execution.id)
        return JobResult(job)

    async def census(self) -> list[LiveExecutions]:
        """What is live, of everybody's: for operators."""
        async with self.database.read() as tx:
            return await execution_rows.census(tx)

    # -------------------------------------------------------------------------------------------------------- waiting

    async def _after(self, result: ExecuteResult, wait_seconds: float) -> ExecuteResult:
        """The same result, with job and execution as they stand after the wait."""
        if result.user_errors or result.execution is None or result.job is None:
            return result
        queued = result.execution.state is ExecutionState.QUEUED
        execution, job = await self.wait(result.execution.id, wait_seconds, fresh=queued)
        return replace(result, job=job, execution=execution)

    async def wait(self, execution_id: str, wait_seconds: float, *, fresh: bool = False) -> tuple[Execution, Job]:
        """Wait until an execution is finished or the time has passed; returns it and its job as they then stand.

        A fresh one was live a moment ago, and is not looked at before its bell has rung. Where the process ends before
        that, whoever still waits gets what there is.
        """
        deadline = time.monotonic() + wait_seconds
        # Not the job's bell: of the steps on the way, each would have been looked at.
        async with self.bus.listen(execution_id) as bell:
            rung = fresh and await bell.wait(min(wait_seconds, _POLL_SECONDS))
            while True:
                left = deadline - time.monotonic()
                async with self.database.read() as tx:
                    # It was rung because that has ended or waits; as long as nobody rings, one column is enough.
                    if rung or left <= 0 or await execution_rows.state(tx, execution_id) in _RINGING:
                        execution, job = await execution_rows.with_job(tx, execution_id)
                        retried_elsewhere = self.runner.is_stopping and execution.state is ExecutionState.WAITING_RETRY
                        given_up = left <= 0 or retried_elsewhere or self._no_waiting.is_set()
                        if execution.state is ExecutionState.FINISHED or given_up:
                            return execution, job
                rung = await bell.wait(min(left, _POLL_SECONDS))

    def stop_waiting(self) -> None:
        """Answer whoever waits at once: the process is on its way out, and nothing more will end in it."""
        self._no_waiting.set()
        self.bus.ring_all()

    async def _refused(self, viewer: Viewer, job_id: str, refused: Refusal) -> ExecuteResult:
        job = None if refused.code is ErrorCode.FORBIDDEN else await self.jobs.get(viewer, job_id)
        return ExecuteResult(job, user_errors=(refused,))

    # ----------------------------------------------------------------------------------------------------- previewing

    async def preview(
        self, viewer: Viewer, job_id: str, *, endpoint_problem: EndpointCheck, can_judge: bool
    ) -> ExecutionPreview | None:
        """Work out what Execute would send now; None where there is no such job for the viewer.

        `can_judge` says whether the service's own validator decides criteria that no code checks.
        """
        job = await self.jobs.get(viewer, job_id)
        if job is None:
            return None
        async with self.database.read() as tx:
            agent = None if job.agent_id is None else await agent_rows.get(tx, job.agent_id)
            previous_id = _to_mend(await execution_rows.last_judged(tx, job.id))
        if agent is not None and (decides := self.steps.validating.can_judge(agent)) is not None:
            can_judge = decides
        undecidable = tuple(
            criterion
            for criterion in job.acceptance_criteria
            if not can_judge and criterion.expression is None and criterion.json_schema is None
        )
        cost_usd = self.steps.validating.worst_case_usd(job.acceptance_criteria, agent)
        if agent is None:
            why = ("The job has no agent yet: assign one.",)
            return ExecutionPreview(None, why, False, undecidable, cost_usd)  # noqa: FBT003  (no agent, no endpoint)
        allowed = await endpoint_problem(agent.endpoint_url) is None
        executor = self.steps.executors.get(agent.executor)
        if executor is None:
            message = f"No executor {agent.executor!r} is installed here."
            return ExecutionPreview(None, (message,), allowed, undecidable, cost_usd)
        try:
            request = await self.steps.prepare_from(pin_job(job), pin_agent(agent), previous_id, executor)
        except InputInvalidError as error:
            return ExecutionPreview(None, error.errors, allowed, undecidable, cost_usd)
        shown: dict[str, JsonValue] = {"method": "POST", "url": request.url, "body": request.body}
        if not viewer.is_admin:
            del shown["url"]
        return ExecutionPreview(self.steps.journal.redact(shown), (), allowed, undecidable, cost_usd)

    # -------------------------------------------------------------------------------------------------------- reading

    async def get_many(
        self, viewer: Viewer, execution_ids: Sequence[str], parts: Parts = WHOLE_EXECUTION
    ) -> Sequence[Execution | None]:
        """Executions by id, in the order asked for; None for one that the viewer may not see."""
        async with self.database.read() as tx:
            return await execution_rows.get_many(tx, viewer.scope, execution_ids, parts)

    async def of_jobs(
        self, viewer: Viewer, job_ids: Sequence[str], page: Page, parts: Parts = WHOLE_EXECUTION
    ) -> Sequence[PageOf[Execution]]:
        """The same page of many jobs' executions."""
        async with self.database.read() as tx:
            return await execution_rows.of_jobs(tx, viewer.scope, job_ids, page, parts)

    async def count_of_jobs(self, viewer: Viewer, job_ids: Sequence[str]) -> Sequence[int]:
        """How many executions each job has."""
        async with self.database.read() as tx:
            return await execution_rows.count_of_jobs(tx, viewer.scope, job_ids)

    async def validations(self, viewer: Viewer, validation_ids: Sequence[str]) -> Sequence[Validation | None]:
        """Validations by id, in the order asked for."""
        async with self.database.read() as tx:
            return await validation_rows.get_many(tx, viewer.scope, validation_ids)

    async def comparisons(self, viewer: Viewer, execution_ids: Sequence[str]) -> Sequence[list[CriterionComparison]]:
        """How each execution compares with the attempt before, criterion by criterion; empty until it is judged."""
        async with self.database.read() as tx:
            found = await validation_rows.compared(tx, viewer.scope, execution_ids)
        return [compare(now, before) for now, before in found]

    async def validations_of(
        self, viewer: Viewer, execution_ids: Sequence[str], page: Page
    ) -> Sequence[PageOf[Validation]]:
        """The same page of many executions' validations."""
        async with self.database.read() as tx:
            return await validation_rows.of_executions(tx, viewer.scope, execution_ids, page)

    async def count_validations_of(self, viewer: Viewer, execution_ids: Sequence[str]) -> Sequence[int]:
        """How many validations each execution has."""
        async with self.database.read() as tx:
            return await validation_rows.count_of_executions(tx, viewer.scope, execution_ids)


def pin_job(job: Job) -> PinnedJob:
    """What an execution keeps of its job."""
    return PinnedJob(**{name: getattr(job, name) for name in PinnedJob.__dataclass_fields__})


def pin_agent(agent: Agent) -> PinnedAgent:
    """What an execution keeps of its agent: all that decides what is sent where, but no credential."""
    return PinnedAgent(**{name: getattr(agent, name) for name in PinnedAgent.__dataclass_fields__})


def _to_mend(previous: Run | None) -> str | None:
    """The attempt before, if it was judged and has something to mend."""
    if previous is None or previous.execution.outcome is ExecutionOutcome.ACCEPTED:
        return None
    return previous.execution.id


def _key_for(job: Job, agent: Agent, sent: Run | None, previous_id: str | None, repeat: _Repeat | None) -> str:
    """The execution's key: the last one again exactly when the same request was sent and nothing came back."""
    if sent is None or sent.agent_responded or sent.agent.id != agent.id or sent.execution.job_revision != job.revision:
        return new_key()
    facts = None if repeat is None else (repeat.sent_id, repeat.job_revision, repeat.agent, repeat.previous_id)
    if repeat is None or facts != (sent.execution.id, job.revision, agent, previous_id):
        raise _NeedsDigestError
    return sent.execution.idempotency_key if repeat.equal else new_key()


def new_key() -> str:
    """A fresh idempotency key, in the form of Standard Webhooks' message ids."""
    return f"msg_{secrets.token_urlsafe(18)}"


def _refusing(job: Job | None, refused: Refusal | None) -> _Started:
    return _Started(ExecuteResult(job, user_errors=() if refused is None else (refused,)))


def _wait_problem(wait_seconds: float) -> Refusal | None:
    # `not <=` and not `>`: NaN is in no range.
    if not 0 <= wait_seconds <= LONGEST_WAIT_SECONDS:
        return invalid(f"waitSeconds must be between 0 and {LONGEST_WAIT_SECONDS}.", "waitSeconds")
    return None


def _command_problem(viewer: Viewer, command: Execute) -> Refusal | None:
    refused = None
    if command.force:
        refused = admins_only(viewer, "force an execution") or reason_problem(command.reason)
    elif command.reason is not None:
        refused = inputs.text(command.reason, ("reason",), inputs.REASON_CHARACTERS, blank=True)
    if refused is None and not ids.is_id(ids.JOB, command.job_id):
        refused = not_found("job", command.job_id, "jobId")
    if refused is None and command.idempotency_key is not None:
        refused = inputs.text(command.idempotency_key, ("idempotencyKey",), inputs.KEY_CHARACTERS)
    return refused or _wait_problem(command.wait_seconds)


def _digest_of(command: Execute) -> str:
    parts = dict(vars(command))
    del parts["wait_seconds"], parts["idempotency_key"]
    return digest(parts)


_EXECUTION_CURSOR = "e"
_VALIDATION_CURSOR = "v"


def cursor_of(execution: Execution) -> str:
    """The cursor of an execution in its job's list."""
    return cursors.encode(_EXECUTION_CURSOR, execution.number)


def position(cursor: str) -> cursors.Position:
    """Read a cursor of a list of executions. Raises BadRequestError."""
    return cursors.decode(_EXECUTION_CURSOR, (int,), cursor)


def validation_cursor_of(validation: Validation) -> str:
    """The cursor of a validation in its execution's list."""
    return cursors.encode(_VALIDATION_CURSOR, validation.number)


def validation_position(cursor: str) -> cursors.Position:
    """Read a cursor of a list of validations. Raises BadRequestError."""
    return cursors.decode(_VALIDATION_CURSOR, (int,), cursor)
