"""The steps of an execution: call the agent, validate its answer, settle.

Each durable step is a short transaction of its own, none is open across the network, and each is a compare-and-set
on the execution's fence. `run` goes on from the last durable step, whoever did it: the same functions serve the
first run, a retry and the take-over after a crash.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from db import agents as agent_rows
from db import executions as execution_rows
from db import jobs as job_rows
from db import logs as log_rows
from db import validations as validation_rows
from db.records import (
    EVERYTHING,
    ExecutionOutcome,
    ExecutionState,
    JobLogStatus,
    JobLogType,
    LogEntry,
    Verdict,
)
from services.executions.absence import once_there
from services.executions.claims import LostError, hold, lock_job
from services.executions.settle import Ending, ended
from services.large_values import beside_the_loop, is_large
from services.plugins import PluginFaultError
from services.ports import (
    AgentAnswer,
    AgentError,
    AgentTroubleKind,
    Delivery,
    FailedCriterion,
    InputInvalidError,
    Previous,
)
from services.redaction import Credentials
from services.sandbox import TooCostlyError
from services.strict_json import InvalidJsonError, check, digest, parse
from services.trace import SpanKind, current_trace_id, current_work, failed, span, traceparent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from db.records import Agent, Job, PinnedAgent, PinnedJob, Run
    from db.session import Database, Transaction
    from services.agents import Secrets
    from services.executions.claims import Claim
    from services.executions.settle import Settling
    from services.executions.validation import Validating
    from services.journal import Journal
    from services.metrics import Metrics
    from services.ports import AgentRequest, Executor
    from services.sandbox import Sandbox

log = logging.getLogger(__name__)

# Three tries pass a restart of the agent; more would keep a person waiting for a dead one.
AGENT_TRIES = 3
# A process that dies five times over one execution dies of it.
LARGEST_TAKEOVERS = 5


class ExecutorFaultError(InputInvalidError):
    """An executor could not build a request although nothing is said to be wrong with the job's data."""


@dataclass(frozen=True)
class Steps:
    """Runs executions that were claimed."""

    database: Database
    journal: Journal
    settling: Settling
    executors: Mapping[str, Executor]
    validating: Validating
    sandbox: Sandbox
    secrets: Secrets
    metrics: Metrics
    room_made: Callable[[], None]
    """Called once an agent has room for another call."""

    async def run(self, claim: Claim, begun: Run | None = None) -> None:
        """Go on with an execution until it is finished, waits for its validator, or is no longer this process's.

        What this process has just committed it need not read: where somebody else has changed it meanwhile the fence
        was raised, and the next write finds that.
        """
        run = begun or await self._read(claim)
        while run is not None:
            run = await self.step(claim, run)

    async def step(self, claim: Claim, run: Run | None = None) -> Run | None:
        """Do the next step, of `run` if that is given; returns where the execution then stands if there is another."""
        run = run or await self._read(claim)
        if run is None:
            return None
        try:
            current_trace_id.set(run.trace_id)
            current_work.set((run.execution.job_id, run.execution.id))
            if run.takeovers > LARGEST_TAKEOVERS:
                await self._give_up(run)
            elif not run.answered:
                with span("agent step", _about(run)):
                    return await self._call_agent(claim, run)
            else:
                with span("validation step", _about(run)):
                    await self.validating.validate(claim, run)
        except LostError:
            self.metrics.lost_claims.inc()
        return None

    async def _read(self, claim: Claim) -> Run | None:
        """Where the execution stands, if it is the claim's."""
        async with self.database.read() as tx:
            run = await execution_rows.run(tx, claim.execution_id)
        is_ours = run is not None and run.fence == claim.fence and run.execution.state is not ExecutionState.FINISHED
        return run if is_ours else None

    # ------------------------------------------------------------------------------------------------- the agent

    async def _call_agent(self, claim: Claim, run: Run) -> Run | None:
        """Prepare the request from what is pinned, send it, and keep the answer or settle without one."""
        if await self._settle_interrupted(claim, run):
            return None
        executor = self.executors.get(run.agent.executor)
        if executor is None:
            message = f"No executor {run.agent.executor!r} is installed here: the agent was not called."
            await self._settle(run, ended(ExecutionOutcome.AGENT_FAILED, message, code="no_executor"))
            return None
        try:
            request = await self.prepare(run, executor)
        except ExecutorFaultError as error:
            message = f"The agent was not called: {error}"
            await self._settle(run, ended(ExecutionOutcome.AGENT_FAILED, message, code="executor_fault"))
            return None
        except InputInvalidError as error:
            message = f"The job's data does not fit the agent's input, so it was not called: {error}"
            await self._settle(run, ended(ExecutionOutcome.INPUT_INVALID, message, code="input_invalid"))
            return None
        return await self._send(claim, run, executor, request)

    async def prepare(self, run: Run, executor: Executor) -> AgentRequest:
        """Build the request and check it against the agent's input schema. Raises InputInvalidError."""
        return await self.prepare_from(run.job, run.agent, run.previous_execution_id, executor)

    async def prepare_from(
        self, job: PinnedJob, agent: PinnedAgent, previous_id: str | None, executor: Executor
    ) -> AgentRequest:
        """Build and check the request that these pins make. Raises InputInvalidError."""
        previous = await self.previous(previous_id)
        try:
            request = await executor.prepare(job, agent, previous)
            request_digest_of(request)
        except InputInvalidError:
            raise
        except Exception as error:
            log.exception("executor %s failed", agent.executor)
            message = f"the executor {agent.executor!r} failed with {type(error).__name__}."
            if isinstance(error, PluginFaultError):
                message = str(error)
            raise ExecutorFaultError([message]) from error
        if agent.input_schema is not None:
            try:
                errors = await self.sandbox.validate(agent.input_schema, request.body)
            except TooCostlyError as error:
                raise InputInvalidError([f"the input schema is too costly to check: {error}"]) from error
            if errors:
                raise InputInvalidError(errors)
        return request

    async def previous(self, execution_id: str | None) -> Previous | None:
        """What the attempt before says to mend."""
        if execution_id is None:
            return None
        async with self.database.read() as tx:
            (execution,) = await execution_rows.get_many(tx, EVERYTHING, [execution_id])
            if execution is None or execution.latest_validation_id is None:
                return None
            (validation,) = await validation_rows.get_many(tx, EVERYTHING, [execution.latest_validation_id])
        if validation is None:
            return None
        missed = tuple(
            FailedCriterion(result.criterion.id, result.criterion.text, result.rationale, result.evidence)
            for result in validation.criteria
            if result.criterion.required and result.verdict is not Verdict.PASS
        )
        return Previous(execution.answer, validation.feedback, missed)

    async def _settle_interrupted(self, claim: Claim, run: Run) -> bool:
        """Close a request that an owner before sent, or was about to send; True where that ends the execution.

        Nobody knows whether it arrived, so it is sent again only to an agent that promises that a repeat has no
        second effect.
        """
        if not run.agent_tries:
            return False
        async with self.database.read() as tx:
            if not await log_rows.open_requests(tx, claim.execution_id):
                return False
        final = not run.agent.idempotent or run.agent_tries >= AGENT_TRIES
        async with self.database.begin() as tx:
            job = await hold(tx, claim, run)
            message = "The process that sent this stopped: whether an answer came is not known"
            await self.settling.close_open(tx, job, run, message)
            if final:
                await self._settle_in(tx, job, run, _UNKNOWN_AFTER_CRASH)
        return final

    async def _send(self, claim: Claim, run: Run, executor: Executor, request: AgentRequest) -> Run | None:
        """Send the request, again where it provably never arrived or the agent is idempotent, within its time."""
        request_digest = request_digest_of(request)
        if run.request_digest not in {None, request_digest}:
            message = "What would be sent now is not what was sent before: this execution cannot go on."
            await self._settle(run, ended(ExecutionOutcome.AGENT_FAILED, message, code="request_changed"))
            return None
        deadline = time.monotonic() + run.agent.timeout_seconds
        tries = run.agent_tries
        while True:
            tries += 1
            sent = await self._log_request(claim, run, request, request_digest, tries)
            if sent is None:
                return None
            request_log_id, secrets = sent
            if not claim.lease.holds():
                # Nothing was sent; the next owner closes the entry. Sending now could be a second time.
                raise LostError
            started = time.monotonic()
            with span("call the agent", {"signoff.try": tries}, kind=SpanKind.CLIENT) as made:
                delivery = Delivery(
                    idempotency_key=run.execution.idempotency_key,
                    timeout_seconds=max(0.001, deadline - started),
                    secret=secrets.present,
                    traceparent=traceparent(run.trace_id),
                    previous_secret=secrets.previous,
                )
                outcome = await _delivered(executor, run.agent.executor, request, delivery)
                trouble = outcome if isinstance(outcome, AgentError) else None
                if trouble is not None:
                    failed(made, trouble.code)
            self.metrics.agent_called(None if trouble is None else trouble.kind, time.monotonic() - started)
            response = _Response(request_log_id, tries, round((time.monotonic() - started) * 1000))
            if isinstance(outcome, AgentAnswer):
                return await once_there(partial(self._keep, claim, run, response, outcome))
            delay = _resend_delay(run, outcome, tries, deadline - time.monotonic())
            await once_there(partial(self._log_trouble, claim, run, response, outcome, settle=delay is None))
            if delay is None:
                return None
            await asyncio.sleep(delay)

    async def _log_request(
        self, claim: Claim, run: Run, request: AgentRequest, request_digest: str, attempt: int
    ) -> tuple[str, _Secrets] | None:
        """Commit the request entry before anything is sent; None where the agent cannot be called any more."""
        log_id, logging_it = await self.journal.appending(
            run.execution.job_id,
            LogEntry(
                type=JobLogType.AGENT_REQUEST,
                message=f"Sent to the agent {run.agent.name!r}",
                execution_id=claim.execution_id,
                attempt=attempt,
                # Not where it went: owners read this, and the endpoint's address is the admins' to know.
                payload={
                    "idempotency_key": run.execution.idempotency_key,
                    "body": request.body,
                },
                trace_id=run.trace_id,
            ),
        )
        sending = partial(
            execution_rows.sending,
            execution_id=claim.execution_id,
            fence=claim.fence,
            request_digest=request_digest,
            then=(logging_it,),
        )
        agent = run.callee or await self._agent(run)
        secrets = None if agent is None else self._readable(agent)
        if agent is not None and secrets is not None:
            # One statement, that waits for no job's lock: what it sees of the agent would be as old as the wait.
            at_once = job_rows.locking(run.execution.job_id, reads=False, waits=False)
            async with self.database.begin(single=True) as tx:
                if await sending(tx, first=(at_once, agent_rows.still(agent))):
                    return log_id, secrets
        # Somebody has the job, or the agent was changed or cannot be called, or the execution is lost.
        secrets = await self._request_in_turn(run, sending)
        return None if secrets is None else (log_id, secrets)

    async def _request_in_turn(self, run: Run, sending: Callable[[Transaction], Awaitable[bool]]) -> _Secrets | None:
        """Wait for the job, see whether its agent may be called, and log the request; None where it may not."""
        async with self.database.begin() as tx:
            job = await lock_job(tx, run)
            agent = await agent_rows.get(tx, run.agent.id)
            if agent is None or not agent.enabled:
                message = f"The agent {run.agent.name!r} was disabled before it was called."
                ending = ended(ExecutionOutcome.AGENT_FAILED, message, code="agent_disabled")
                await self._settle_in(tx, job, run, ending)
                return None
            secrets = self._readable(agent)
            if secrets is None:
                message = f"The credential of the agent {agent.name!r} cannot be read: an admin must set it again."
                ending = ended(ExecutionOutcome.AGENT_FAILED, message, code="secret_unreadable")
                await self._settle_in(tx, job, run, ending)
                return None
            if not await sending(tx):
                raise LostError
        return secrets

    async def _agent(self, run: Run) -> Agent | None:
        async with self.database.read() as tx:
            return await agent_rows.get(tx, run.agent.id)

    def _readable(self, agent: Agent) -> _Secrets | None:
        """The agent's credentials; None where the present one cannot be read."""
        try:
            return _secrets_of(agent, self.secrets)
        except ValueError:
            return None

    async def _keep(self, claim: Claim, run: Run, response: _Response, answer: AgentAnswer) -> Run | None:
        """Keep a complete answer; one that breaks the output schema ends the execution in the same commit.

        Returns the execution with its answer, as far as validating needs it.
        """
        errors = await self._output_errors(run, answer)
        message = f"The agent answered in {response.duration_ms} ms"
        if errors:
            message = f"The agent's answer does not meet its output schema: {errors[0]}"
        job_id = run.execution.job_id
        _, logging_it = await self.journal.appending(
            job_id,
            response.entry(
                run,
                message,
                status=JobLogStatus.ERROR if errors else JobLogStatus.OK,
                payload=answer.value,
                http_status=answer.http_status,
                error_code="output_invalid" if errors else None,
            ),
        )
        async with self.database.begin(single=not errors) as tx:
            kept = await execution_rows.keep_answer(
                tx,
                claim.execution_id,
                claim.fence,
                answer.value,
                self.validating.policy.deadline_seconds,
                first=(job_rows.locking(job_id, reads=False),),
                then=(logging_it,),
            )
            if not kept:
                self.metrics.dropped_answers.inc()
                raise LostError
            tx.committed.append(self.room_made)
            if errors:
                listed = "; ".join(errors)
                message = f"The agent's answer does not meet its output schema: {listed}"
                job = await lock_job(tx, run)
                await self._settle_in(
                    tx, job, run, ended(ExecutionOutcome.OUTPUT_INVALID, message, code="output_invalid")
                )
        if errors:
            return None
        answered = replace(run.execution, state=ExecutionState.VALIDATING, kept_answer=answer.value)
        return replace(run, execution=answered, answered=True, agent_responded=True, validation_round=1)

    async def _output_errors(self, run: Run, answer: AgentAnswer) -> list[str]:
        if run.agent.output_schema is None:
            return []
        try:
            return await self.sandbox.validate(run.agent.output_schema, answer.value)
        except TooCostlyError as error:
            return [f"the output schema is too costly to check ({error})"]

    async def _log_trouble(
        self, claim: Claim, run: Run, response: _Response, trouble: AgentError, *, settle: bool
    ) -> None:
        async with self.database.begin() as tx:
            job = await lock_job(tx, run)
            cut = trouble.kind in {AgentTroubleKind.UNKNOWN, AgentTroubleKind.TIMEOUT}
            responded = trouble.http_status is not None and not cut
            if not await execution_rows.not_answered(tx, claim.execution_id, claim.fence, responded=responded):
                self.metrics.dropped_answers.inc()
                raise LostError
            await self.journal.append(
                tx,
                job,
                response.entry(
                    run,
                    trouble.message,
                    status=_LOGGED[trouble.kind],
                    payload=trouble.payload,
                    http_status=trouble.http_status,
                    error_code=trouble.code,
                ),
            )
            if settle:
                await self._settle_in(tx, job, run, _ending_of(run, trouble))

    # --------------------------------------------------------------------------------------------------- endings

    async def _give_up(self, run: Run) -> None:
        """End an execution that process after process died of."""
        async with self.database.begin() as tx:
            job = await lock_job(tx, run)
            message = "Given up: nobody knows whether it arrived"
            unanswered = await self.settling.close_open(tx, job, run, message)
            if run.answered:
                outcome = ExecutionOutcome.VALIDATOR_UNAVAILABLE
            elif unanswered:
                outcome = ExecutionOutcome.AGENT_OUTCOME_UNKNOWN
            else:
                outcome = ExecutionOutcome.AGENT_FAILED
            message = f"Given up after {run.takeovers} interruptions. Tell an operator before you try again."
            await self._settle_in(tx, job, run, ended(outcome, message, code="too_many_takeovers"))

    async def _settle(self, run: Run, ending: Ending) -> None:
        async with self.database.begin() as tx:
            await self._settle_in(tx, await lock_job(tx, run), run, ending)

    async def _settle_in(self, tx: Transaction, job: Job, run: Run, ending: Ending) -> None:
        if await self.settling.settle(tx, job, run, ending) is None:
            raise LostError


@dataclass(frozen=True)
class _Secrets:
    """An agent's credentials, readable."""

    present: str | None = field(repr=False)
    previous: str | None = field(repr=False)


def _secrets_of(agent: Agent, secrets: Secrets) -> _Secrets:
    """Read an agent's credentials. Raises ValueError where the present one cannot be read."""
    present = None if agent.secret is None else secrets.decrypt(agent.secret)
    previous, until = None, agent.previous_secret_until
    if agent.previous_secret is not None and until is not None and until > datetime.now(UTC):
        # One that cannot be read any more helps nobody, and hinders nobody either.
        with contextlib.suppress(ValueError):
            previous = secrets.decrypt(agent.previous_secret)
    return _Secrets(present, previous)


async def _delivered(
    executor: Executor, name: str, request: AgentRequest, delivery: Delivery
) -> AgentAnswer | AgentError:
    """Send once; nothing that comes of it holds the agent's credentials (docs/adr/0008)."""
    credentials = Credentials.of(delivery.secret, delivery.previous_secret)
    with credentials.in_use():
        try:
            answer = await executor.send(request, delivery)
            if is_large(answer.value):
                return await beside_the_loop(_usable, answer, credentials)
            return _usable(answer, credentials)
        except AgentError as error:
            return _blanked(error, credentials)
        except Exception as error:
            log.exception("executor %s failed", name)
            message = f"The executor {name!r} failed with {type(error).__name__}."
            if isinstance(error, PluginFaultError):
                message = credentials.blank_text(str(error))
            return AgentError(AgentTroubleKind.UNKNOWN, "executor_fault", message)


def _blanked(error: AgentError, credentials: Credentials) -> AgentError:
    """The same error as it may be logged; a payload that cannot be kept is left out."""
    try:
        payload = credentials.blank(check(error.payload))
    except InvalidJsonError:
        payload = None
    return AgentError(
        error.kind,
        error.code,
        credentials.blank_text(error.message),
        http_status=error.http_status,
        retry_after_seconds=error.retry_after_seconds,
        payload=payload,
    )


def _about(run: Run) -> dict[str, str | int]:
    """What a span tells of the execution that it is part of."""
    return {
        "signoff.job": run.execution.job_id,
        "signoff.execution": run.execution.id,
        "signoff.takeovers": run.takeovers,
    }


def _usable(answer: AgentAnswer, credentials: Credentials) -> AgentAnswer:
    """Hold an executor to its port, and blank: raises AgentError for an answer that is null or cannot be kept."""
    code, problem = "answer_null", "it is null, which is no answer."
    if answer.value is not None:
        try:
            # By way of its text, which takes a tenth of the time that walking over a large answer would.
            value = parse(json.dumps(answer.value, ensure_ascii=False, allow_nan=False))
        except (TypeError, ValueError, RecursionError):
            code, problem = "answer_not_json", "it is not JSON that can be kept."
        else:
            return replace(answer, value=credentials.blank(value))
    raise AgentError(AgentTroubleKind.ANSWER_INVALID, code, problem, http_status=answer.http_status)


def request_digest_of(request: AgentRequest) -> str:
    """What tells two requests apart: where they go and their bodies."""
    return digest({"url": request.url, "body": request.body})


@dataclass(frozen=True)
class _Response:
    """What every response entry to one agent request has in common."""

    request_log_id: str
    attempt: int
    duration_ms: int

    def entry(self, run: Run, message: str, **rest: Any) -> LogEntry:
        return LogEntry(
            type=JobLogType.AGENT_RESPONSE,
            message=message,
            execution_id=run.execution.id,
            attempt=self.attempt,
            duration_ms=self.duration_ms,
            trace_id=run.trace_id,
            answers=self.request_log_id,
            **rest,
        )


_LOGGED = {
    AgentTroubleKind.NOT_SENT: JobLogStatus.ERROR,
    AgentTroubleKind.FAILED: JobLogStatus.ERROR,
    AgentTroubleKind.ANSWER_INVALID: JobLogStatus.ERROR,
    AgentTroubleKind.TIMEOUT: JobLogStatus.TIMEOUT,
    AgentTroubleKind.UNKNOWN: JobLogStatus.UNKNOWN,
}

_UNKNOWN_AFTER_CRASH = ended(
    ExecutionOutcome.AGENT_OUTCOME_UNKNOWN,
    "The request may have reached the agent, but Signoff was interrupted before an answer came.",
    code="interrupted",
)


def _resend_delay(run: Run, trouble: AgentError, tries: int, seconds_left: float) -> float | None:
    """How long to wait before the same request is sent again; None where it is not."""
    ambiguous = trouble.kind in {AgentTroubleKind.UNKNOWN, AgentTroubleKind.TIMEOUT}
    resend = trouble.kind is AgentTroubleKind.NOT_SENT or (ambiguous and run.agent.idempotent)
    if not resend or tries >= AGENT_TRIES:
        return None
    delay = trouble.retry_after_seconds
    if delay is None:
        delay = random.uniform(0.5, 1.0) * 0.5 * 2**tries  # noqa: S311  (jitter, not cryptography)
    return delay if delay < seconds_left else None


def _ending_of(run: Run, trouble: AgentError) -> Ending:
    name = repr(run.agent.name)
    if trouble.kind is AgentTroubleKind.ANSWER_INVALID:
        message = f"The answer of the agent {name} cannot be used: {trouble.message}"
        return ended(ExecutionOutcome.OUTPUT_INVALID, message, code=trouble.code)
    if trouble.kind in {AgentTroubleKind.UNKNOWN, AgentTroubleKind.TIMEOUT}:
        message = f"The agent {name} may have done the job, but its answer was not had: {trouble.message}"
        return ended(ExecutionOutcome.AGENT_OUTCOME_UNKNOWN, message, code=trouble.code)
    message = f"The agent {name} failed: {trouble.message}"
    return ended(ExecutionOutcome.AGENT_FAILED, message, code=trouble.code)
