"""The life of a job: which status follows which, by whom, and what may be done in each.

Status changes happen by this table and nowhere else, each a compare-and-set together with its STATUS_CHANGE entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from db import jobs as job_rows
from db.chains import chained
from db.records import (
    Execution,
    ExecutionOutcome,
    ExecutionState,
    Job,
    JobLogType,
    JobStatus,
    LogEntry,
)
from services.refusals import ErrorCode, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from db.chains import Link
    from db.records import Actor, Agent
    from db.session import Transaction
    from services.journal import Journal
    from services.viewer import Viewer


class JobAction(StrEnum):
    """What a person may do to a job."""

    EDIT = "edit"
    ASSIGN = "assign"
    EXECUTE = "execute"
    RETRY_VALIDATION = "retry_validation"
    CANCEL = "cancel"
    FORCE_EXECUTE = "force_execute"
    FORCE_ASSIGN = "force_assign"
    FORCE_COMPLETE = "force_complete"
    FORCE_RESUBMISSION = "force_resubmission"


class Cause(StrEnum):
    """Why a job's status changes."""

    CREATE = "create"
    ASSIGN = "assign"
    EXECUTE = "execute"
    FORCE_EXECUTE = "force_execute"
    RETRY_VALIDATION = "retry_validation"
    SETTLE = "settle"
    RESTORE = "restore"
    OVERRIDE = "override"


_ANY = frozenset(JobStatus)
_PENDING, _ASSIGNED, _RUNNING, _RESUBMIT, _COMPLETED = (
    JobStatus.PENDING,
    JobStatus.ASSIGNED,
    JobStatus.IN_EXECUTION,
    JobStatus.RESUBMISSION_REQUIRED,
    JobStatus.COMPLETED,
)
_RESTING = _ANY - {_RUNNING}

# cause -> the statuses that it may lead from, and to. A job is created from no status.
TRANSITIONS: Mapping[Cause, tuple[frozenset[JobStatus | None], frozenset[JobStatus]]] = {
    Cause.CREATE: (frozenset({None}), frozenset({_PENDING})),
    Cause.ASSIGN: (frozenset({_PENDING}), frozenset({_ASSIGNED})),
    Cause.EXECUTE: (frozenset({_ASSIGNED, _RESUBMIT}), frozenset({_RUNNING})),
    Cause.FORCE_EXECUTE: (_RESTING, frozenset({_RUNNING})),
    Cause.RETRY_VALIDATION: (frozenset({_RESUBMIT}), frozenset({_RUNNING})),
    Cause.SETTLE: (frozenset({_RUNNING}), frozenset({_COMPLETED, _RESUBMIT})),
    # Nothing was judged, so nothing is rejected: back to the status, and result, before Execute.
    Cause.RESTORE: (frozenset({_RUNNING}), _RESTING),
    Cause.OVERRIDE: (_RESTING, frozenset({_ASSIGNED, _COMPLETED, _RESUBMIT})),
}

# outcome -> the status that the job goes to; None: the one before Execute.
SETTLED_STATUS: Mapping[ExecutionOutcome, JobStatus | None] = {
    ExecutionOutcome.ACCEPTED: _COMPLETED,
    ExecutionOutcome.REJECTED: _RESUBMIT,
    ExecutionOutcome.UNDECIDED: _RESUBMIT,
    ExecutionOutcome.OUTPUT_INVALID: _RESUBMIT,
    ExecutionOutcome.VALIDATOR_UNAVAILABLE: _RESUBMIT,
    ExecutionOutcome.INPUT_INVALID: None,
    ExecutionOutcome.AGENT_FAILED: None,
    ExecutionOutcome.AGENT_OUTCOME_UNKNOWN: None,
    ExecutionOutcome.CANCELLED: None,
    ExecutionOutcome.SUPERSEDED: None,
}

_EDITABLE = frozenset({_PENDING, _ASSIGNED, _RESUBMIT})
_EXECUTABLE = frozenset({_ASSIGNED, _RESUBMIT})
_REVALIDATED = frozenset({ExecutionOutcome.UNDECIDED, ExecutionOutcome.VALIDATOR_UNAVAILABLE})
_ADMIN_ACTIONS = frozenset(
    {JobAction.FORCE_EXECUTE, JobAction.FORCE_ASSIGN, JobAction.FORCE_COMPLETE, JobAction.FORCE_RESUBMISSION}
)


@dataclass(frozen=True)
class Situation:
    """All that decides what may be done to a job: itself, its agent and its latest execution."""

    job: Job
    agent: Agent | None
    latest: Execution | None


def refusal(action: JobAction, viewer: Viewer, situation: Situation) -> Refusal | None:
    """Say why the viewer, who may see the job, may not do this to it now; None where they may.

    The one rule behind `availableActions` and behind the mutations, which ask again under the job's lock.
    """
    if action in _ADMIN_ACTIONS and not viewer.is_admin:
        return Refusal(ErrorCode.FORBIDDEN, "Only an admin may override.")
    job = situation.job
    if action in {JobAction.EXECUTE, JobAction.FORCE_EXECUTE}:
        if action is JobAction.EXECUTE and job.status not in _EXECUTABLE:
            return Refusal(ErrorCode.NOT_EXECUTABLE, _WHY_NOT_EXECUTABLE[job.status])
        if situation.agent is None:
            return Refusal(ErrorCode.NOT_EXECUTABLE, _WHY_NOT_EXECUTABLE[_PENDING])
        if not situation.agent.enabled:
            return Refusal(
                ErrorCode.NOT_EXECUTABLE,
                f"The agent {situation.agent.name!r} is disabled: assign another one.",
            )
        return None
    if action in {JobAction.EDIT, JobAction.ASSIGN} and job.status not in _EDITABLE:
        return _not_in_status(f"{action.value} the job", job)
    if action is JobAction.CANCEL and job.status is not _RUNNING:
        return _not_in_status("cancel", job)
    if action is JobAction.RETRY_VALIDATION:
        return _retry_refusal(job, situation.latest)
    return None


_WHY_NOT_EXECUTABLE = {
    _PENDING: "The job has no agent yet: assign one, then execute it.",
    _RUNNING: "The job is already in execution: wait for it, or cancel it.",
    _COMPLETED: "The job is completed: only an admin may force another execution.",
}


def _not_in_status(what: str, job: Job) -> Refusal:
    return Refusal(ErrorCode.NOT_ALLOWED_IN_STATUS, f"You cannot {what} while its status is {job.status.name}.")


def _retry_refusal(job: Job, latest: Execution | None) -> Refusal | None:
    if job.status is _RUNNING and latest is not None:
        if latest.state in {ExecutionState.VALIDATING, ExecutionState.WAITING_RETRY}:
            return None
        return Refusal(ErrorCode.NOT_ALLOWED_IN_STATUS, "The agent has not answered yet: there is nothing to validate.")
    if job.status is not _RESUBMIT or latest is None:
        return _not_in_status("validate the job again", job)
    if latest.outcome not in _REVALIDATED:
        outcome = latest.outcome.name if latest.outcome else "unknown"
        return Refusal(
            ErrorCode.NOT_ALLOWED_IN_STATUS,
            f"The latest execution ended {outcome}: only one that could not be decided is validated again.",
        )
    if latest.job_revision != job.revision:
        return Refusal(
            ErrorCode.NOT_ALLOWED_IN_STATUS, "The job was edited since that answer: execute it again instead."
        )
    return None


def available_actions(viewer: Viewer, situation: Situation) -> list[JobAction]:
    """What the viewer may do to the job now, in the order of the enumeration."""
    return [action for action in JobAction if refusal(action, viewer, situation) is None]


@dataclass(frozen=True)
class Lifecycle:
    """Makes status changes, together with their log entries."""

    journal: Journal

    async def created(self, tx: Transaction, job: Job, actor: Actor) -> None:
        """Log that a job came to be."""
        await chained(tx, await self._logging(job.id, Cause.CREATE, None, JobStatus.PENDING, actor, "Created", {}))

    async def change(
        self,
        tx: Transaction,
        job: Job,
        to: JobStatus,
        cause: Cause,
        actor: Actor,
        message: str,
        *,
        entry: Mapping[str, Any] | None = None,
        **values: Any,
    ) -> Job:
        """Move a locked job to a status, with the other columns given.

        `entry` adds to the log entry: execution_id, error_code, trace_id, payload. Raises RuntimeError where the
        table does not have the change, or where the job is not as the caller read it under the lock: both are bugs.
        """
        old = job_rows.as_read(job)
        found = await chained(tx, *await self.changing(old, to, cause, actor, message, entry=entry or {}, **values))
        if found is None:
            fault = f"{job.id} changed under its lock"
            raise RuntimeError(fault)
        return job_rows.changed(job, found[0], status=to, **values)

    async def changing(
        self,
        old: Mapping[str, Any],
        to: JobStatus,
        cause: Cause,
        actor: Actor,
        message: str,
        *,
        entry: Mapping[str, Any],
        **values: Any,
    ) -> tuple[Link, Link]:
        """The same as links of a chain that has the job's lock; of `old` they take its id and status at least."""
        logging_it = await self._logging(old["id"], cause, old["status"], to, actor, message, entry)
        return job_rows.changing(old, status=to, **values), logging_it

    @staticmethod
    def _check(cause: Cause, from_status: JobStatus | None, to: JobStatus) -> None:
        sources, targets = TRANSITIONS[cause]
        if from_status not in sources or to not in targets:
            fault = f"no transition {from_status} -> {to} by {cause}"
            raise RuntimeError(fault)

    async def _logging(
        self,
        job_id: str,
        cause: Cause,
        from_status: JobStatus | None,
        to: JobStatus,
        actor: Actor,
        message: str,
        entry: Mapping[str, Any],
    ) -> Link:
        self._check(cause, from_status, to)
        _, logging_it = await self.journal.appending(
            job_id,
            LogEntry(
                type=JobLogType.STATUS_CHANGE,
                message=message,
                actor=actor,
                from_status=from_status,
                to_status=to,
                **entry,
            ),
        )
        return logging_it
