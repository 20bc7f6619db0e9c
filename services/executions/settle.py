"""How an execution ends: its outcome, the job's status, result and notice, in one commit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from db import executions as execution_rows
from db import jobs as job_rows
from db import logs as log_rows
from db import validations as validation_rows
from db.records import (
    SYSTEM,
    ExecutionOutcome,
    JobLogStatus,
    JobLogType,
    JobNotice,
    JobStatus,
    LogEntry,
    Verdict,
)
from services.lifecycle import SETTLED_STATUS, Cause

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from db.chains import Link
    from db.records import Actor, CriterionResult, Job, Run
    from db.session import Transaction
    from services.journal import Journal
    from services.lifecycle import Lifecycle
    from services.metrics import Metrics

_RESPONSE_TO = {
    JobLogType.AGENT_REQUEST: JobLogType.AGENT_RESPONSE,
    JobLogType.VALIDATOR_REQUEST: JobLogType.VALIDATOR_RESPONSE,
}


@dataclass(frozen=True)
class Ending:
    """An outcome and what people are told: `message` in the log, `notice` on the job."""

    outcome: ExecutionOutcome
    message: str
    notice: JobNotice | None = None
    error_code: str | None = None
    actor: Actor = SYSTEM


# What the owner of a job can do next, in the notice after what happened; a verdict says it for its own criteria.
NEXT_STEPS: Mapping[ExecutionOutcome, str] = {
    ExecutionOutcome.UNDECIDED: (
        "The answer is kept: look at it, then validate again, edit the criteria or execute again."
    ),
    ExecutionOutcome.OUTPUT_INVALID: (
        "Execute again; if it stays so, the agent or its output schema has to be mended by an admin."
    ),
    ExecutionOutcome.INPUT_INVALID: "Edit the job so that it fits, or assign another agent; then execute.",
    ExecutionOutcome.AGENT_FAILED: "Nothing was judged: execute again later, or assign another agent.",
    ExecutionOutcome.AGENT_OUTCOME_UNKNOWN: (
        "See whether the agent has done the work before you execute again: while job and agent stay as they are, it is"
        " sent the same idempotency key, by which it can tell."
    ),
    ExecutionOutcome.VALIDATOR_UNAVAILABLE: "The answer is kept: validate again once that is mended.",
    ExecutionOutcome.CANCELLED: "The job is as it was before: execute it again when you are ready.",
    ExecutionOutcome.SUPERSEDED: "The job's log says who did it and why.",
}


def ended(outcome: ExecutionOutcome, message: str, *, retryable: bool = True, code: str | None = None) -> Ending:
    """An ending without criteria: the notice says the same as the log, and what to do next."""
    return Ending(outcome, message, JobNotice(outcome, told(outcome, message), retryable), error_code=code)


def told(outcome: ExecutionOutcome, message: str) -> str:
    """What happened and what to do next, for a person."""
    return f"{message.rstrip('. ')}. {NEXT_STEPS[outcome]}"


@dataclass(frozen=True)
class Settling:
    """Ends executions."""

    lifecycle: Lifecycle
    journal: Journal
    metrics: Metrics

    async def settle(self, tx: Transaction, job: Job, run: Run, ending: Ending) -> Job | None:
        """End the live execution of a locked job; None where somebody raised its fence, and nothing was written."""
        # An answer gives the slot back when it is kept, and there are replies only to requests that show one.
        id_ = run.execution.id
        let_go = validation_rows.dropping_replies(id_) if run.answered else execution_rows.freeing_slot(id_)
        if not await execution_rows.finish(tx, id_, run.fence, ending.outcome, then=(let_go,)):
            return None
        self._count(tx, run, ending)
        to, cause, moved = _where_to(run, ending)
        return await self.lifecycle.change(tx, job, to, cause, ending.actor, ending.message, **moved)

    async def settle_judged(
        self, tx: Transaction, run: Run, ending: Ending, *, written: Sequence[Link], **validated: Any
    ) -> bool:
        """End the live execution by a validation, in one chain with its job's lock and what is to be `written`.

        `validated` is for `db.executions.finish`. False where somebody raised the fence, and nothing was written.
        """
        job_id, status = run.execution.job_id, JobStatus.IN_EXECUTION
        to, cause, moved = _where_to(run, ending)
        old = {"id": job_id, "status": status}
        moving = await self.lifecycle.changing(old, to, cause, ending.actor, ending.message, **moved)
        settled = await execution_rows.finish(
            tx,
            run.execution.id,
            run.fence,
            ending.outcome,
            # As long as an execution of its is live, the job is in execution.
            first=(job_rows.locking(job_id, status=status, reads=False),),
            then=(*written, *moving),
            **validated,
        )
        if settled:
            self._count(tx, run, ending)
        return settled

    def _count(self, tx: Transaction, run: Run, ending: Ending) -> None:
        seconds = (datetime.now(UTC) - run.execution.queued_at).total_seconds()
        tx.committed.append(partial(self.metrics.finished, ending.outcome, seconds))

    async def end_from_outside(
        self, tx: Transaction, job: Job, run: Run, outcome: ExecutionOutcome, actor: Actor, message: str
    ) -> Job:
        """Cancel or supersede the live execution of a locked job. What arrives for it later is dropped."""
        await self.close_open(tx, job, run, f"{message}: its answer was not waited for", actor)
        notice = JobNotice(outcome, told(outcome, message), retryable=True)
        ended_job = await self.settle(tx, job, run, Ending(outcome, message, notice, actor=actor))
        if ended_job is None:
            fault = f"{run.execution.id} changed under its job's lock"
            raise RuntimeError(fault)
        return ended_job

    async def close_open(self, tx: Transaction, job: Job, run: Run, message: str, actor: Actor = SYSTEM) -> bool:
        """Close the execution's request entries whose answers nobody has; returns whether there were any."""
        requests = await log_rows.open_requests(tx, run.execution.id)
        for request in requests:
            await self.journal.append(
                tx,
                job,
                LogEntry(
                    type=_RESPONSE_TO[request.type],
                    status=JobLogStatus.UNKNOWN,
                    message=message,
                    actor=actor,
                    execution_id=run.execution.id,
                    attempt=request.attempt,
                    error_code="outcome_unknown",
                    trace_id=run.trace_id,
                    answers=request.id,
                ),
            )
        return bool(requests)


def _where_to(run: Run, ending: Ending) -> tuple[JobStatus, Cause, dict[str, Any]]:
    """Where an ending leads the job, why, and what is to be changed and logged of it besides."""
    to, cause = SETTLED_STATUS[ending.outcome], Cause.SETTLE
    result = run.execution.answer if to is JobStatus.COMPLETED else None
    if to is None:
        to, cause, result = run.status_before, Cause.RESTORE, run.result_before
    entry = {"execution_id": run.execution.id, "error_code": ending.error_code, "trace_id": run.trace_id}
    return to, cause, {"result": result, "notice": ending.notice, "entry": entry}


def judged(verdict: Verdict, results: tuple[CriterionResult, ...], advice: str | None) -> Ending:
    """The ending that a verdict leads to, with a notice that names what to mend."""
    if verdict is Verdict.PASS:
        return Ending(ExecutionOutcome.ACCEPTED, "Accepted: every required criterion passed")
    missed = tuple(result for result in results if result.criterion.required and result.verdict is not Verdict.PASS)
    failed = tuple(result for result in missed if result.verdict is Verdict.FAIL)
    if failed:
        names = _listed(failed)
        return Ending(
            ExecutionOutcome.REJECTED,
            f"Rejected: {names} failed",
            JobNotice(
                ExecutionOutcome.REJECTED,
                f"The result was not accepted: {names} failed. Execute again, and the agent is told what to mend, with"
                " these reasons and its own answer; or edit the job first, where it asks for too much.",
                retryable=True,
                failed_criteria=failed,
            ),
        )
    names = _listed(missed)
    what_next = advice or "Look at the answer yourself: validate again, edit the criteria or execute again."
    return Ending(
        ExecutionOutcome.UNDECIDED,
        f"Undecided: {names} could not be decided",
        JobNotice(
            ExecutionOutcome.UNDECIDED,
            f"No criterion failed, but {names} could not be decided. {what_next}",
            retryable=True,
            failed_criteria=missed,
        ),
    )


def _listed(results: tuple[CriterionResult, ...]) -> str:
    """Name up to three criteria by their texts."""
    shown = [f"“{_short(result.criterion.text)}”" for result in results[:3]]
    if len(results) > len(shown):
        shown.append(f"{len(results) - len(shown)} more")
    return ", ".join(shown[:-1]) + " and " + shown[-1] if len(shown) > 1 else shown[0]


def _short(text: str, longest: int = 80) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def feedback(results: tuple[CriterionResult, ...]) -> str:
    """What the agent and the owner are told to do better: one line for each required criterion not passed."""
    return "\n".join(
        f"- {_short(result.criterion.text, 200)}: {result.rationale}"
        for result in results
        if result.criterion.required and result.verdict is not Verdict.PASS
    )
