"""Validating a kept answer: code checks first, then the validator, whose every call is journaled on both sides.

Trouble of the validator's is not a verdict. Whole replies are kept until the execution settles, so that a
validation that was interrupted goes on without asking anything a second time.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from db import executions as execution_rows
from db import jobs as job_rows
from db import logs as log_rows
from db import validations as validation_rows
from db.chains import chained
from db.executions import NOTHING, Spent
from db.records import (
    CriterionResult,
    ExecutionOutcome,
    JobLogStatus,
    JobLogType,
    JobNotice,
    LogEntry,
    Verdict,
)
from services import ids
from services.evidence import Quotable
from services.executions.absence import once_there
from services.executions.claims import LostError, hold
from services.executions.settle import Ending, ended, feedback, judged
from services.large_values import beside_the_loop, is_large
from services.plugins import PluginBrokenError, PluginFaultError
from services.ports import Finding, Priced, Reply, Submission, ValidatorError, ValidatorTroubleKind
from services.ports import Verdict as PortVerdict
from services.strict_json import check, digest
from services.trace import SpanKind, failed, span

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from db.chains import Link
    from db.records import Agent, Criterion, Job, JsonValue, PinnedAgent, Run
    from db.session import Database, Transaction
    from services.executions.claims import Claim
    from services.executions.settle import Settling
    from services.journal import Journal
    from services.metrics import Metrics
    from services.ports import Criterion as PortCriterion
    from services.ports import Job as PortJob
    from services.ports import Report, Validator

log = logging.getLogger(__name__)
T = TypeVar("T")

CHECKS = "checks"
# The kept reply of the code checks stands before the validator's calls, which count from 1.
_CHECKS_CALL = 0
_EXHAUSTED = "exhausted"
_RETRIED = frozenset({ValidatorTroubleKind.UNAVAILABLE, ValidatorTroubleKind.TIMEOUT, ValidatorTroubleKind.CONFIG})


class CodeChecks(Protocol):
    """Decides the criteria that carry an expression or a schema."""

    async def decide(
        self, job: PortJob, criteria: Sequence[PortCriterion], answer: JsonValue, /
    ) -> tuple[Finding, ...]: ...


@dataclass
class ValidatorHealth:
    """What an operator must mend before the validator can judge; None while nothing is known to be wrong."""

    problem: str | None = None
    canary: str | None = None
    """What became of the two known cases that it was asked at the start; None where it was not."""


@dataclass(frozen=True)
class RetryPolicy:
    """How long and how often a validator in trouble is asked again; all in seconds.

    The back-off doubles from `first` to `longest` with jitter; what an operator must mend is retried every `slow`.
    """

    deadline_seconds: float = 3600
    first_seconds: float = 1
    longest_seconds: float = 60
    slow_seconds: float = 60

    def delay(self, error: ValidatorError, tries: int) -> float:
        """How long to wait after the n-th failure in a row, n from 1; never shorter than Retry-After."""
        if error.kind is ValidatorTroubleKind.CONFIG:
            base = self.slow_seconds
        else:
            base = min(self.longest_seconds, self.first_seconds * 2 ** min(tries - 1, 30))
        jittered = random.uniform(0.5, 1.0) * base  # noqa: S311  (jitter, not cryptography)
        return max(jittered, error.retry_after_seconds or 0.0)


@dataclass(frozen=True)
class Validating:
    """Validates answers and settles on the verdict."""

    database: Database
    journal: Journal
    settling: Settling
    checks: CodeChecks
    validator: Validator
    validators: Mapping[str, Validator]
    """All that are installed, by name: an agent may have its answers judged by another than the service's own."""
    policy: RetryPolicy
    metrics: Metrics
    largest_cost_usd: float | None = None
    """What all calls for one execution may cost together."""
    health: ValidatorHealth = field(default_factory=ValidatorHealth)

    def of(self, agent: Agent | PinnedAgent) -> Validator | None:
        """Who judges the agent's answers; None where it is not installed here."""
        return self.validator if agent.validator is None else self.validators.get(agent.validator)

    def can_judge(self, agent: Agent) -> bool | None:
        """Whether who judges its answers is there and has what it needs; None where that is the service's own."""
        if agent.validator is None:
            return None
        return bool(getattr(self.validators.get(agent.validator), "can_judge", agent.validator in self.validators))

    def worst_case_usd(self, criteria: Sequence[Criterion], agent: Agent | None) -> float | None:
        """The most that judging them may cost, by list prices; None where the validator does not know."""
        judged = sum(not _has_check(criterion) for criterion in criteria)
        validator = self.validator if agent is None else self.of(agent)
        if not judged or validator is None:
            return 0.0
        cost_usd = validator.worst_case_usd(judged) if isinstance(validator, Priced) else None
        if cost_usd is None or self.largest_cost_usd is None:
            return cost_usd
        return min(cost_usd, self.largest_cost_usd)

    async def validate(self, claim: Claim, run: Run) -> None:
        """Go on with the validation of a kept answer until it settles or waits. Raises LostError."""
        await self._close_interrupted(claim, run)
        asking = await _Asking.resume(self, claim, run)
        started = time.monotonic()
        checked = await self._check(asking)
        results = checked
        report: Report | None = None
        undecided = tuple(item for item in run.job.acceptance_criteria if not _has_check(item))
        failed = any(result.criterion.required and result.verdict is Verdict.FAIL for result in checked.values())
        if undecided and not failed:
            try:
                report = await self._report(asking, undecided)
            except ValidatorError as error:
                await once_there(partial(self._after_trouble, asking, error))
                return
            results = checked | {finding.criterion_id: _result(run, finding) for finding in report.findings}
        duration_ms = round((time.monotonic() - started) * 1000)
        await once_there(partial(self._settle, asking, results, report, duration_ms))

    # ------------------------------------------------------------------------------------------------ code checks

    async def _check(self, asking: _Asking) -> dict[str, CriterionResult]:
        """Decide the criteria that carry an expression or a schema, or recall what was decided."""
        run = asking.run
        kept = asking.kept.get(_CHECKS_CALL)
        if kept is not None:
            return {item["criterion_id"]: _result(run, _finding(item)) for item in kept[1]}
        with_check = [item for item in run.job.acceptance_criteria if _has_check(item)]
        if not with_check:
            return {}
        started = time.monotonic()
        findings = await self.checks.decide(run.job, with_check, run.execution.answer)
        results = [_result(run, finding) for finding in findings]
        asking.checked = _Checked(results, round((time.monotonic() - started) * 1000))
        return {result.criterion.id: result for result in results}

    # ----------------------------------------------------------------------------------------------- the validator

    async def _report(self, asking: _Asking, undecided: tuple[Criterion, ...]) -> Report:
        """Have the validator decide what code cannot. Raises ValidatorError, also for the faults of a plug-in."""
        run, validator = asking.run, asking.validator
        if validator is None:
            message = (
                f"The validator {run.agent.validator!r} of the agent {run.agent.name!r} is not installed here: install"
                " it, or give the agent another one and execute again."
            )
            raise ValidatorError(ValidatorTroubleKind.CONFIG, message, code="no_validator")
        submission = Submission(run.job, undecided, run.execution.answer, run.validation_seed)
        try:
            report = await validator.validate(submission, asking)
            found = sorted(finding.criterion_id for finding in report.findings)
            complete = found == sorted(criterion.id for criterion in undecided)
            if complete:
                check([_finding_json(_result(run, finding)) for finding in report.findings])
                report = await _held(report, submission.answer, asking.name)
        except (ValidatorError, LostError):
            raise
        except PluginFaultError as error:
            # One that cannot even be made waits for an operator; what else it does wrong, it would do again.
            broken = isinstance(error, PluginBrokenError)
            kind = ValidatorTroubleKind.CONFIG if broken else ValidatorTroubleKind.INVALID
            raise ValidatorError(kind, str(error), code="validator_fault") from error
        except Exception as error:
            if error is asking.broke:
                raise
            log.exception("validator %s failed", asking.name)
            raise _fault(asking.name, f"failed with {type(error).__name__}") from error
        finally:
            asking.has_ended = True
        if not complete:
            raise _fault(asking.name, "did not decide each criterion exactly once")
        return report

    async def _after_trouble(self, asking: _Asking, error: ValidatorError) -> None:
        """The validator has no verdict: let go until the next try, or settle for a person to look at.

        The answer is kept either way.
        """
        run = asking.run
        is_retried = error.kind in _RETRIED
        async with asking.paying() as owed, self.database.begin() as tx:
            delay = await self._retry_in(tx, run, error) if is_retried else None
            is_exhausted = is_retried and delay is None
            job = await asking.catch_up(tx, owed, keeps=delay is not None, is_exhausted=is_exhausted)
            if delay is not None:
                await self._wait(tx, job, run, error, delay)
            elif is_exhausted:
                message = f"The validator stayed unavailable: {error.message}"
                ending = ended(ExecutionOutcome.VALIDATOR_UNAVAILABLE, message, code=_EXHAUSTED)
                await self._settle_in(tx, job, run, ending)
            else:
                message = f"The validator {asking.name!r} could not decide: {error.message}"
                await self._settle_in(tx, job, run, ended(ExecutionOutcome.UNDECIDED, message, code=error.code))

    async def _retry_in(self, tx: Transaction, run: Run, error: ValidatorError) -> float | None:
        """Seconds until the next try; None where the deadline is spent. The last try is made at the deadline."""
        left = await execution_rows.validation_seconds_left(tx, run.execution.id)
        if left <= 0 or (error.retry_after_seconds or 0.0) > left:
            return None
        return min(self.policy.delay(error, run.validator_tries + 1), left)

    async def _wait(self, tx: Transaction, job: Job, run: Run, error: ValidatorError, delay: float) -> None:
        """Let go of the execution until the next try."""
        if not await execution_rows.wait_retry(tx, run.execution.id, run.fence, delay):
            raise LostError
        message = f"Waiting for the validator: {error.message} It is asked again by itself."
        await job_rows.set_notice(tx, job, JobNotice(None, message, retryable=True))

    # --------------------------------------------------------------------------------------------------- settling

    async def _settle(
        self, asking: _Asking, results: dict[str, CriterionResult], report: Report | None, duration_ms: int
    ) -> None:
        """Write down what is owed to the journal, the validation and what it leads to."""
        run = asking.run
        ordered = tuple(results[criterion.id] for criterion in run.job.acceptance_criteria if criterion.id in results)
        verdict = overall(ordered)
        ending = judged(verdict, ordered, report.advice if report else None)
        validation_id = ids.new_id(ids.VALIDATION)
        validated = validation_rows.creating(
            validation_id=validation_id,
            execution_id=run.execution.id,
            validator=asking.name if report else CHECKS,
            model=report.model if report else None,
            votes=report.votes if report else None,
            prompt=report.prompt if report else None,
            system_fingerprint=report.system_fingerprint if report else None,
            verdict=verdict,
            criteria=ordered,
            feedback=feedback(ordered),
            duration_ms=duration_ms,
        )
        if asking.unheard:
            async with asking.paying() as owed, self.database.begin() as tx:
                await asking.catch_up(tx, owed)
        async with asking.paying() as owed:
            written = await asking.links(owed, keeps=False)
            if asking.has_kept:
                written.append(validation_rows.dropping_replies(run.execution.id))
            async with self.database.begin(single=True) as tx:
                settled = await self.settling.settle_judged(
                    tx,
                    run,
                    ending,
                    written=(*written, validated),
                    validation_id=validation_id,
                    calls=owed.calls,
                    spent=owed.spent,
                )
                if not settled:
                    raise LostError

    async def _settle_in(self, tx: Transaction, job: Job, run: Run, ending: Ending) -> None:
        if await self.settling.settle(tx, job, run, ending) is None:
            raise LostError

    async def _close_interrupted(self, claim: Claim, run: Run) -> None:
        """Close a validator request that an owner before left open: it is asked again."""
        if not run.validator_calls:
            return
        async with self.database.read() as tx:
            if not await log_rows.open_requests(tx, claim.execution_id):
                return
        async with self.database.begin() as tx:
            job = await hold(tx, claim, run)
            message = "The process that asked this stopped: the validator is asked again"
            await self.settling.close_open(tx, job, run, message)


@dataclass(frozen=True)
class _Checked:
    """What code has decided."""

    results: Sequence[CriterionResult]
    duration_ms: int


@dataclass(frozen=True)
class _Answered:
    """One call of the validator and what came of it, for the journal."""

    call: int
    attempt: int
    request_log_id: str
    request_digest: str
    seconds: float
    reply: Reply | None
    trouble: ValidatorError | None

    @property
    def kept(self) -> JsonValue:
        """What is kept for a validation that is interrupted, or None: trouble that passes by itself is asked again."""
        passes = self.trouble is not None and self.trouble.kind in _RETRIED
        return None if self.reply is None or passes else dict(vars(self.reply))

    @property
    def spent(self) -> Spent:
        """What the call cost, or at worst may have cost."""
        reply = self.reply
        return NOTHING if reply is None else Spent(reply.prompt_tokens, reply.completion_tokens, reply.cost_usd)


@dataclass(frozen=True)
class _Owed:
    """What was decided and replied and is not committed yet."""

    checked: _Checked | None
    answered: Sequence[_Answered]

    @property
    def calls(self) -> int:
        """How many requests are owed: the one to the code checks."""
        return 0 if self.checked is None else 1

    @property
    def spent(self) -> Spent:
        """What the calls cost whose replies are owed."""
        return sum((answered.spent for answered in self.answered), NOTHING)


@dataclass
class _Asking:
    """The `ask` of one validation: journals both sides of each call, and answers from what is kept.

    What code has decided and what the validator has replied is not committed by itself: it is owed to the journal, and
    goes with the next commit, which is the one before the next call or the one that settles.
    """

    validating: Validating
    claim: Claim
    run: Run
    validator: Validator | None
    kept: dict[int, tuple[str, Any]]
    attempt: int
    call: int = _CHECKS_CALL
    checked: _Checked | None = None
    """What is owed of the code checks."""
    answered: list[_Answered] = field(default_factory=list[_Answered])
    """What is owed of the validator's replies: one, unless a validator asks again before it was answered."""
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while what is owed is committed: a validator may come to its end while it asks, and both would commit it."""
    has_kept: bool = False
    """Whether replies of this execution are kept."""
    unheard: set[int] = field(default_factory=set[int])
    """The calls whose requests may be committed, and to which nothing has come."""
    has_ended: bool = False
    """Whether the validator has come to its end: of what it still asks nothing is sent, nor heard."""
    broke: Exception | None = None
    """What kept the journal from being written."""
    spent_usd: float = 0.0
    """By the execution altogether: what was lost on the way, and what was asked in the rounds before, included."""

    @classmethod
    async def resume(cls, validating: Validating, claim: Claim, run: Run) -> _Asking:
        kept: dict[int, tuple[str, Any]] = {}
        # Before the first request there is nothing to keep.
        if run.validator_calls:
            async with validating.database.read() as tx:
                kept = await validation_rows.replies(tx, run.execution.id, run.validation_round)
        return cls(
            validating,
            claim,
            run,
            validating.of(run.agent),
            kept,
            attempt=run.validator_calls,
            has_kept=run.validator_calls > 0,
            spent_usd=(run.earlier_cost_usd or 0.0) + (run.cost_usd or 0.0),
        )

    @property
    def name(self) -> str:
        """What logs call the validator."""
        return self.run.agent.validator or self.validating.validator.name

    def _tell_health(self, problem: str | None) -> None:
        # An agent's own validator is its business: what it has is in the notices of its jobs.
        if self.validator is self.validating.validator:
            self.validating.health.problem = problem

    def entry(self, type_: JobLogType, message: str, attempt: int, **rest: Any) -> LogEntry:
        return LogEntry(
            type=type_,
            message=message,
            execution_id=self.run.execution.id,
            attempt=attempt,
            trace_id=self.run.trace_id,
            **rest,
        )

    async def __call__(
        self,
        request: JsonValue,
        send: Callable[[], Awaitable[Reply]],
        read: Callable[[Reply], T],
        *,
        at_most_usd: float | None = None,
    ) -> T:
        """Journal, send, read, journal: see ports.Ask."""
        self.call += 1
        call = self.call
        request_digest = digest(request)
        kept = self.kept.get(call)
        if kept is not None and kept[0] == request_digest:
            return read(Reply(**kept[1]))
        self._afford(at_most_usd)
        logging_it = partial(self._log_request, request, call)
        attempt, request_log_id = await self._written(once_there(logging_it) if self.answered else logging_it())
        if self.has_ended or not self.claim.lease.holds():
            raise LostError
        started = time.monotonic()
        with span("ask the validator", {"signoff.validator": self.name}, kind=SpanKind.CLIENT) as made:
            reply, value = await self._heard(send, read)
            trouble = value if isinstance(value, ValidatorError) else None
            if trouble is not None:
                failed(made, trouble.code)
        seconds = time.monotonic() - started
        kind = None if trouble is None else trouble.kind
        self.validating.metrics.validator_called(self.name, kind, seconds, reply)
        if self.has_ended:
            # Its request is closed already.
            raise LostError
        answered = _Answered(call, attempt, request_log_id, request_digest, seconds, reply, trouble)
        self.spent_usd += answered.spent.cost_usd or 0.0
        self.answered.append(answered)
        self.unheard.discard(call)
        if isinstance(value, ValidatorError):
            if value.kind is ValidatorTroubleKind.CONFIG:
                self._tell_health(value.message)
            raise value
        self._tell_health(None)
        return value

    async def _written(self, written: Awaitable[T]) -> T:
        """Whatever is wrong with the journal is no fault of the validator's, through whose hands it goes."""
        try:
            return await written
        except LostError:
            raise
        except Exception as error:
            self.broke = error
            raise

    def _afford(self, at_most_usd: float | None) -> None:
        """Make sure that the call cannot cost more than the execution has left. Raises ValidatorError."""
        largest = self.validating.largest_cost_usd
        if largest is None or self.spent_usd + (at_most_usd or 0.0) <= largest:
            return
        self.call -= 1
        raise ValidatorError(
            ValidatorTroubleKind.BUDGET,
            f"Another call might cost ${at_most_usd or 0.0:.2f}; ${self.spent_usd:.2f} of the ${largest:.2f} that"
            " judging one execution may cost are spent. Raise SIGNOFF_JUDGE_MAX_COST_USD and validate again, or look"
            " at the answer yourself.",
            code="over_budget",
        )

    async def _heard(
        self, send: Callable[[], Awaitable[Reply]], read: Callable[[Reply], T]
    ) -> tuple[Reply | None, T | ValidatorError]:
        """The reply and what is read from it, or what went wrong."""
        reply: Reply | None = None
        try:
            reply = _kept(await send())
            return reply, read(reply)
        except ValidatorError as error:
            return error.reply or reply, error
        except Exception as error:
            log.exception("validator %s failed", self.name)
            fault = _fault(self.name, f"failed with {type(error).__name__}")
            fault.__cause__ = error
            return reply, fault

    async def _log_request(self, request: JsonValue, call: int) -> tuple[int, str]:
        """Commit the request before it is sent; returns the number of the attempt and the entry's id."""
        # A validator may ask several things at once: each counts from the one before.
        async with self.paying() as owed:
            if self.has_ended:
                raise LostError
            self.unheard.add(call)
            calls = owed.calls + 1
            attempt = self.attempt + calls
            message = f"Asked the validator {self.name!r}"
            entry = self.entry(JobLogType.VALIDATOR_REQUEST, message, attempt, payload=request)
            job_id = self.run.execution.job_id
            links = await self.links(owed)
            log_id, logging_it = await self._appending(entry)
            async with self.validating.database.begin(single=True) as tx:
                asked = await execution_rows.asking(
                    tx,
                    self.claim.execution_id,
                    self.claim.fence,
                    calls=calls,
                    spent=owed.spent,
                    first=(job_rows.locking(job_id, reads=False),),
                    then=(*links, logging_it),
                )
                if not asked:
                    raise LostError
            self.attempt = attempt
        return attempt, log_id

    # ------------------------------------------------------------------------------------------------- what is owed

    @asynccontextmanager
    async def paying(self) -> AsyncGenerator[_Owed]:
        """What is owed just now, for whoever commits that before the end of the block; one after the other does."""
        async with self.writing:
            owed = _Owed(self.checked, tuple(self.answered))
            yield owed
            self.checked = None
            self.answered = [answered for answered in self.answered if answered not in owed.answered]

    async def catch_up(self, tx: Transaction, owed: _Owed, *, keeps: bool = True, is_exhausted: bool = False) -> Job:
        """Once the validator has ended: lock the job, make sure of the fence, write what is owed, and close what
        nothing came to. Raises LostError.
        """
        job = await hold(tx, self.claim, self.run, calls=owed.calls, spent=owed.spent)
        await chained(tx, *await self.links(owed, keeps=keeps, is_exhausted=is_exhausted))
        if self.unheard:
            message = "The validator was given up before an answer came"
            await self.validating.settling.close_open(tx, job, self.run, message)
            tx.committed.append(self.unheard.clear)
        return job

    async def links(self, owed: _Owed, *, keeps: bool = True, is_exhausted: bool = False) -> list[Link]:
        """What writes to the journal what is owed and, where the validation goes on, keeps it for one that is
        interrupted: after the fence was made sure of, and it was counted.
        """
        found: list[Link] = []
        if owed.checked is not None:
            found += await self._appending_checks(owed.checked)
            if keeps:
                results = [_finding_json(result) for result in owed.checked.results]
                found.append(self._keeping(_CHECKS_CALL, CHECKS, results))
        for answered in owed.answered:
            found.append(await self._appending_response(answered, is_exhausted=is_exhausted))
            if keeps and answered.kept is not None:
                found.append(self._keeping(answered.call, answered.request_digest, answered.kept))
        return found

    async def _appending_checks(self, checked: _Checked) -> tuple[Link, Link]:
        """One pair of entries for all code checks: nothing leaves the process, so both go into one commit."""
        results = checked.results
        criteria: JsonValue = [
            {
                "id": result.criterion.id,
                "text": result.criterion.text,
                "expression": result.criterion.expression,
                "json_schema": result.criterion.json_schema,
            }
            for result in results
        ]
        attempt = self.attempt + 1
        request_id, request = await self._appending(
            self.entry(
                JobLogType.VALIDATOR_REQUEST,
                f"Checking {_count(results)} by code",
                attempt,
                payload={"validator": CHECKS, "criteria": criteria},
            ),
        )
        passed = sum(result.verdict is Verdict.PASS for result in results)
        _, response = await self._appending(
            self.entry(
                JobLogType.VALIDATOR_RESPONSE,
                f"{passed} of {_count(results)} passed by code",
                attempt,
                payload={"results": [_finding_json(result) for result in results]},
                duration_ms=checked.duration_ms,
                answers=request_id,
            )
        )
        return request, response

    async def _appending_response(self, answered: _Answered, *, is_exhausted: bool) -> Link:
        """What came of a call; trouble that would be waited for says where no time is left to (`is_exhausted`)."""
        reply, trouble = answered.reply, answered.trouble
        status, message, error_code = JobLogStatus.OK, _told(answered.spent), None
        http_status, payload = (None, None) if reply is None else (reply.http_status, reply.payload)
        if trouble is not None:
            timed_out = trouble.kind is ValidatorTroubleKind.TIMEOUT
            status, message = JobLogStatus.TIMEOUT if timed_out else JobLogStatus.ERROR, trouble.message
            error_code = _EXHAUSTED if is_exhausted and trouble.kind in _RETRIED else trouble.code
            http_status = http_status if trouble.http_status is None else trouble.http_status
            if payload is None and trouble.request_id is not None:
                payload = {"request_id": trouble.request_id}
        _, appending = await self._appending(
            self.entry(
                JobLogType.VALIDATOR_RESPONSE,
                message,
                answered.attempt,
                status=status,
                payload=payload,
                http_status=http_status,
                duration_ms=round(answered.seconds * 1000),
                error_code=error_code,
                answers=answered.request_log_id,
            )
        )
        return appending

    async def _appending(self, entry: LogEntry) -> tuple[str, Link]:
        return await self.validating.journal.appending(self.run.execution.job_id, entry)

    def _keeping(self, call: int, request_digest: str, reply: JsonValue) -> Link:
        self.has_kept = True
        return validation_rows.keeping_reply(
            execution_id=self.run.execution.id,
            round_=self.run.validation_round,
            call=call,
            request_digest=request_digest,
            reply=reply,
        )


def _kept(reply: Reply) -> Reply:
    """The reply itself. Raises InvalidJsonError where it cannot be kept: its request must still be closed."""
    check(dict(vars(reply)))
    return reply


def overall(results: Sequence[CriterionResult]) -> Verdict:
    """A required fail fails; else a required doubt is a doubt; else it passes. Optional criteria only inform."""
    required = {result.verdict for result in results if result.criterion.required}
    for verdict in (Verdict.FAIL, Verdict.UNSURE):
        if verdict in required:
            return verdict
    return Verdict.PASS


def _has_check(criterion: Criterion) -> bool:
    return criterion.expression is not None or criterion.json_schema is not None


def _count(results: Sequence[CriterionResult]) -> str:
    return f"{len(results)} {'criterion' if len(results) == 1 else 'criteria'}"


def _told(spent: Spent) -> str:
    parts = [
        f"{count} {name}"
        for count, name in (
            (spent.prompt_tokens, "prompt tokens"),
            (spent.completion_tokens, "completion tokens"),
        )
        if count is not None
    ]
    if spent.cost_usd is not None:
        parts.append(f"${spent.cost_usd:.6f}")
    return "The validator answered" + (f" ({', '.join(parts)})" if parts else "")


def _fault(name: str, what: str) -> ValidatorError:
    return ValidatorError(ValidatorTroubleKind.INVALID, f"The validator {name!r} {what}.", code="validator_fault")


async def _held(report: Report, answer: JsonValue, name: str) -> Report:
    """Look every quote up; where there are any, beside the loop if the answer is large."""
    if not any(finding.evidence for finding in report.findings):
        return report
    if is_large(answer):
        return await beside_the_loop(_with_evidence, report, answer, name)
    return _with_evidence(report, answer, name)


def _with_evidence(report: Report, answer: JsonValue, name: str) -> Report:
    """Hold every validator to its quotes: a finding with one that is not in the answer is a doubt."""
    quotable = Quotable(answer)

    def held(finding: Finding) -> Finding:
        found = tuple(quote for quote in finding.evidence if quotable.has(quote))
        if len(found) == len(finding.evidence):
            return finding
        said = f"not every quote that the validator {name!r} gave is in the answer; it said: {finding.rationale}"
        return replace(finding, verdict=PortVerdict.UNSURE, evidence=found, rationale=f"Not counted: {said}")

    return replace(report, findings=tuple(map(held, report.findings)))


def _result(run: Run, finding: Finding) -> CriterionResult:
    criterion = next(item for item in run.job.acceptance_criteria if item.id == finding.criterion_id)
    return CriterionResult(
        criterion,
        Verdict(finding.verdict.value),
        finding.rationale,
        tuple(finding.evidence),
        finding.decided_by,
    )


def _finding_json(result: CriterionResult) -> JsonValue:
    return {
        "criterion_id": result.criterion.id,
        "verdict": result.verdict.value,
        "rationale": result.rationale,
        "evidence": list(result.evidence),
        "decided_by": result.decided_by,
    }


def _finding(stored: Any) -> Finding:
    return Finding(
        stored["criterion_id"],
        PortVerdict(stored["verdict"]),
        stored["rationale"],
        tuple(stored["evidence"]),
        stored["decided_by"],
    )
