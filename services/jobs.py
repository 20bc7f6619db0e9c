"""Creating, editing, assigning and overriding jobs, and reading them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from db import agents as agent_rows
from db import executions as execution_rows
from db import idempotency
from db import jobs as job_rows
from db.records import (
    WHOLE_JOB,
    Actor,
    ExecutionOutcome,
    Job,
    JobLogType,
    JobNotice,
    JobOrderField,
    JobStatus,
    LogEntry,
    OrderDirection,
    Role,
)
from services import cursors, ids, inputs
from services.inputs import CriterionDraft, InputLimits
from services.lifecycle import Cause, JobAction, Situation, available_actions, refusal
from services.refusals import ErrorCode, Refusal, invalid, not_found
from services.strict_json import canonical, digest
from services.trace import current_trace_id
from services.viewer import admins_only

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from db.records import Agent, Criterion, Execution, JobFilter, JsonValue, Page, PageOf, Parts
    from db.session import Database, Transaction
    from services.executions.settle import Settling
    from services.journal import Journal
    from services.lifecycle import Lifecycle
    from services.ports import Runner
    from services.sandbox import Sandbox
    from services.viewer import Viewer

CREATE_JOB = "createJob"


@dataclass(frozen=True)
class JobDraft:
    """A job as a person wrote it."""

    title: str
    acceptance_criteria: Sequence[CriterionDraft]
    description: str = ""
    input: JsonValue = None
    agent_id: str | None = None
    owner_id: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True)
class JobEdit:
    """Changes to a job; what is None stays."""

    expected_revision: int
    title: str | None = None
    description: str | None = None
    input: JsonValue = None
    acceptance_criteria: Sequence[CriterionDraft] | None = None
    nulls: Sequence[str] = ()
    """The fields that were given as null, by their names in the API: none of them can be."""


@dataclass(frozen=True)
class JobResult:
    """What became of a mutation of a job; a refused one still shows the job where the viewer may see it."""

    job: Job | None
    user_errors: tuple[Refusal, ...] = ()
    replayed: bool = False


@dataclass(frozen=True)
class Jobs:
    """Use cases on jobs."""

    database: Database
    journal: Journal
    lifecycle: Lifecycle
    settling: Settling
    sandbox: Sandbox
    runner: Runner
    limits: InputLimits = field(default_factory=InputLimits)

    # ----------------------------------------------------------------------------------------------------- writing

    async def create(self, viewer: Viewer, draft: JobDraft) -> JobResult:
        """Create a job, and assign its agent where one is given."""
        if draft.owner_id is not None and draft.owner_id != viewer.id:
            refused = admins_only(viewer, "create a job on behalf of somebody else")
            if refused is not None:
                return JobResult(None, (refused,))
        draft = replace(draft, input={} if draft.input is None else draft.input)
        refused = self._text_problem(draft.title, draft.description, draft.input) or (
            _key_problem(draft.idempotency_key) or _owner_problem(draft.owner_id) or _agent_problem(draft.agent_id)
        )
        if refused is not None:
            return JobResult(None, (refused,))
        criteria = await inputs.criteria(draft.acceptance_criteria, (), self.sandbox, self.limits)
        if isinstance(criteria, Refusal):
            return JobResult(None, (criteria,))
        owner = viewer.actor
        if draft.owner_id is not None and draft.owner_id != viewer.id:
            owner = Actor(id=draft.owner_id, display_name=draft.owner_id, role=Role.CLIENT)
        request_digest = _digest_of(draft)
        async with self.database.begin() as tx:
            if draft.idempotency_key is not None:
                seen = await idempotency.recall(tx, viewer.id, CREATE_JOB, draft.idempotency_key)
                if seen is not None:
                    job = await job_rows.get(tx, viewer.scope, seen.job_id)
                    if seen.request_digest != request_digest:
                        return JobResult(job, (conflict(draft.idempotency_key),))
                    return JobResult(job, replayed=True)
            agent: Agent | None = None
            if draft.agent_id is not None:
                agent = await self._assignable(tx, viewer, draft.agent_id)
                if agent is None:
                    return JobResult(None, (not_found("agent", draft.agent_id, "agentId"),))
            job = await job_rows.create(
                tx,
                job_id=ids.new_id(ids.JOB),
                owner=owner,
                title=draft.title,
                description=draft.description,
                input=draft.input,
                acceptance_criteria=criteria,
            )
            await self.lifecycle.created(tx, job, viewer.actor)
            if agent is not None:
                job = await self._move_to_assigned(tx, job, agent, viewer.actor, revision=job.revision)
            if draft.idempotency_key is not None:
                await idempotency.remember(
                    tx,
                    subject=viewer.id,
                    mutation=CREATE_JOB,
                    key=draft.idempotency_key,
                    request_digest=request_digest,
                    job_id=job.id,
                    execution_id=None,
                )
        return JobResult(job)

    async def update(self, viewer: Viewer, job_id: str, edit: JobEdit) -> JobResult:
        """Edit a job that the viewer saw at `expected_revision`. What leaves everything as it is is no edit."""
        before = await self.get(viewer, job_id)
        if before is None:
            return JobResult(None, (not_found("job", job_id, "jobId"),))
        refused = self._text_problem(edit.title, edit.description, edit.input)
        if edit.nulls:
            refused = invalid(f"{edit.nulls[0]} cannot be null: leave it out to keep it.", edit.nulls[0])
        if refused is not None:
            return JobResult(before, (refused,))
        criteria = before.acceptance_criteria
        if edit.acceptance_criteria is not None:
            checked = await inputs.criteria(edit.acceptance_criteria, criteria, self.sandbox, self.limits)
            if isinstance(checked, Refusal):
                return JobResult(before, (checked,))
            criteria = checked
        async with self.database.begin() as tx:
            job, refused = await self._locked(tx, viewer, job_id, JobAction.EDIT, edit.expected_revision)
            if job is None or refused is not None:
                return JobResult(job, _only(refused))
            wanted: dict[str, Any] = {
                "title": job.title if edit.title is None else edit.title,
                "description": job.description if edit.description is None else edit.description,
                "input": job.input if edit.input is None else edit.input,
                "acceptance_criteria": criteria if edit.acceptance_criteria is not None else job.acceptance_criteria,
            }
            fields = [name for name, value in wanted.items() if not _same(value, getattr(job, name))]
            if not fields:
                return JobResult(job)
            edited = await job_rows.change(tx, job, revision=job.revision + 1, **wanted)
            if edited is None:
                fault = f"{job.id} changed under its lock"
                raise RuntimeError(fault)
            names = ", ".join(_API_NAMES[name] for name in fields)
            await self._log_edit(tx, edited, viewer.actor, f"Edited {names}", {"fields": fields})
        return JobResult(edited)

    async def assign(
        self, viewer: Viewer, job_id: str, agent_id: str, expected_revision: int | None = None
    ) -> JobResult:
        """Give the job an agent, or another one."""
        async with self.database.begin() as tx:
            job, refused = await self._locked(tx, viewer, job_id, JobAction.ASSIGN, expected_revision)
            if job is None or refused is not None:
                return JobResult(job, _only(refused))
            agent = await self._assignable(tx, viewer, agent_id)
            if agent is None:
                return JobResult(job, (not_found("agent", agent_id, "agentId"),))
            if job.status is JobStatus.PENDING:
                return JobResult(await self._move_to_assigned(tx, job, agent, viewer.actor, revision=job.revision + 1))
            return JobResult(await self._reassign(tx, job, agent, viewer.actor))

    async def _move_to_assigned(self, tx: Transaction, job: Job, agent: Agent, actor: Actor, *, revision: int) -> Job:
        return await self.lifecycle.change(
            tx,
            job,
            JobStatus.ASSIGNED,
            Cause.ASSIGN,
            actor,
            f"Assigned to the agent {agent.name!r}",
            entry={"trace_id": current_trace_id.get()},
            agent_id=agent.id,
            revision=revision,
        )

    async def _reassign(self, tx: Transaction, job: Job, agent: Agent, actor: Actor) -> Job:
        assigned = await job_rows.change(tx, job, agent_id=agent.id, revision=job.revision + 1)
        if assigned is None:
            fault = f"{job.id} changed under its lock"
            raise RuntimeError(fault)
        payload: JsonValue = {"fields": ["agent"], "agent_id": agent.id}
        await self._log_edit(tx, assigned, actor, f"Assigned to the agent {agent.name!r} instead", payload)
        return assigned

    async def _log_edit(self, tx: Transaction, job: Job, actor: Actor, message: str, payload: JsonValue) -> None:
        await self.journal.append(
            tx,
            job,
            LogEntry(
                type=JobLogType.JOB_EDIT,
                message=message,
                actor=actor,
                payload=payload,
                trace_id=current_trace_id.get(),
            ),
        )

    # --------------------------------------------------------------------------------------------------- overrides

    async def force_assign(self, viewer: Viewer, job_id: str, agent_id: str, reason: str) -> JobResult:
        """Put the job to ASSIGNED with this agent, whatever its status."""
        refused = admins_only(viewer, "force an assignment") or reason_problem(reason)
        if refused is not None:
            return JobResult(await self.get(viewer, job_id) if viewer.is_admin else None, (refused,))
        async with self.database.begin() as tx:
            job, refused = await self._locked(tx, viewer, job_id, JobAction.FORCE_ASSIGN, None)
            if job is None or refused is not None:
                return JobResult(job, _only(refused))
            agent = await self._assignable(tx, viewer, agent_id)
            if agent is None:
                return JobResult(job, (not_found("agent", agent_id, "agentId"),))
            job = await self._supersede(tx, job, viewer.actor, "an admin's assignment")
            if job.status is JobStatus.ASSIGNED:
                job = await self._reassign(tx, job, agent, viewer.actor)
                job = await self._without_notice(tx, job)
            else:
                job = await self.lifecycle.change(
                    tx,
                    job,
                    JobStatus.ASSIGNED,
                    Cause.OVERRIDE,
                    viewer.actor,
                    f"An admin assigned it to the agent {agent.name!r}",
                    entry={"trace_id": current_trace_id.get()},
                    agent_id=agent.id,
                    revision=job.revision + 1,
                    result=None,
                    notice=None,
                )
            await self.log_admin_action(tx, job, viewer.actor, JobAction.FORCE_ASSIGN, reason, {"agent_id": agent.id})
        self._interrupt(job)
        return JobResult(job)

    async def force_complete(self, viewer: Viewer, job_id: str, result: JsonValue, reason: str) -> JobResult:
        """Put the job to COMPLETED with this result, or where it is None the latest execution's kept answer."""
        refused = admins_only(viewer, "force a completion") or reason_problem(reason)
        if refused is None and result is not None:
            refused = inputs.json(result, ("result",), self.limits.result_bytes)
        if refused is not None:
            return JobResult(await self.get(viewer, job_id) if viewer.is_admin else None, (refused,))
        async with self.database.begin() as tx:
            job, refused = await self._locked(tx, viewer, job_id, JobAction.FORCE_COMPLETE, None)
            if job is None or refused is not None:
                return JobResult(job, _only(refused))
            latest = await _latest(tx, job)
            given = result is not None
            if result is None and latest is not None:
                result = latest.answer
            if result is None:
                message = "The latest execution kept no answer: give the result yourself."
                return JobResult(job, (invalid(message, "result"),))
            job = await self._supersede(tx, job, viewer.actor, "an admin's completion")
            if job.status is JobStatus.COMPLETED:
                changed = await job_rows.change(tx, job, result=result, notice=None)
                if changed is None:
                    fault = f"{job.id} changed under its lock"
                    raise RuntimeError(fault)
                job = changed
            else:
                job = await self.lifecycle.change(
                    tx,
                    job,
                    JobStatus.COMPLETED,
                    Cause.OVERRIDE,
                    viewer.actor,
                    "An admin completed it",
                    entry={"trace_id": current_trace_id.get()},
                    result=result,
                    notice=None,
                )
            about: JsonValue = {"result": "given" if given else f"the answer kept by {latest.id if latest else ''}"}
            await self.log_admin_action(tx, job, viewer.actor, JobAction.FORCE_COMPLETE, reason, about)
        self._interrupt(job)
        return JobResult(job)

    async def force_resubmission(self, viewer: Viewer, job_id: str, reason: str) -> JobResult:
        """Put the job to RESUBMISSION_REQUIRED, with the reason as its notice."""
        refused = admins_only(viewer, "force a re-submission") or reason_problem(reason)
        if refused is not None:
            return JobResult(await self.get(viewer, job_id) if viewer.is_admin else None, (refused,))
        notice = JobNotice(None, f"An admin asks for a re-submission: {reason}", retryable=True)
        async with self.database.begin() as tx:
            job, refused = await self._locked(tx, viewer, job_id, JobAction.FORCE_RESUBMISSION, None)
            if job is None or refused is not None:
                return JobResult(job, _only(refused))
            job = await self._supersede(tx, job, viewer.actor, "an admin's request for a re-submission")
            if job.status is JobStatus.RESUBMISSION_REQUIRED:
                job = await job_rows.set_notice(tx, job, notice) or job
            else:
                job = await self.lifecycle.change(
                    tx,
                    job,
                    JobStatus.RESUBMISSION_REQUIRED,
                    Cause.OVERRIDE,
                    viewer.actor,
                    "An admin asks for a re-submission",
                    entry={"trace_id": current_trace_id.get()},
                    result=None,
                    notice=notice,
                )
            await self.log_admin_action(tx, job, viewer.actor, JobAction.FORCE_RESUBMISSION, reason, None)
        self._interrupt(job)
        return JobResult(job)

    async def _supersede(self, tx: Transaction, job: Job, actor: Actor, by: str) -> Job:
        """End a live execution first: the job is back in the status before it."""
        run = await execution_rows.live_of_job(tx, job.id)
        if run is None:
            return job
        return await self.settling.end_from_outside(
            tx, job, run, ExecutionOutcome.SUPERSEDED, actor, f"Superseded by {by}"
        )

    async def _without_notice(self, tx: Transaction, job: Job) -> Job:
        return job if job.notice is None else await job_rows.set_notice(tx, job, None) or job

    def _interrupt(self, job: Job) -> None:
        if job.latest_execution_id is not None:
            self.runner.interrupt(job.latest_execution_id)

    async def log_admin_action(
        self, tx: Transaction, job: Job, actor: Actor, action: JobAction, reason: str, about: JsonValue
    ) -> None:
        """Log who overrode what, and why."""
        await self.journal.append(
            tx,
            job,
            LogEntry(
                type=JobLogType.ADMIN_ACTION,
                message=f"{actor.display_name}: {action.name}: {reason}",
                actor=actor,
                execution_id=job.latest_execution_id,
                payload={"action": action.name, "reason": reason, "about": about},
                trace_id=current_trace_id.get(),
            ),
        )

    # ----------------------------------------------------------------------------------------------------- checking

    def _text_problem(self, title: str | None, description: str | None, input_: JsonValue) -> Refusal | None:
        refused = None
        if title is not None:
            refused = inputs.text(title, ("title",), inputs.TITLE_CHARACTERS)
        if refused is None and description is not None:
            refused = inputs.text(description, ("description",), inputs.DESCRIPTION_CHARACTERS, blank=True)
        if refused is None and input_ is not None:
            refused = inputs.json(input_, ("input",), self.limits.job_input_bytes)
        return refused

    async def _locked(
        self, tx: Transaction, viewer: Viewer, job_id: str, action: JobAction, expected_revision: int | None
    ) -> tuple[Job | None, Refusal | None]:
        """Lock a job for an action; refused where it is unknown, stale, or the action is not allowed now."""
        job = await lock_visible(tx, viewer, job_id)
        if job is None:
            return None, not_found("job", job_id, "jobId")
        agent = None if job.agent_id is None else await agent_rows.get(tx, job.agent_id)
        refused = refusal(action, viewer, Situation(job, agent, await _latest(tx, job)))
        return job, refused or stale(job, expected_revision)

    async def _assignable(self, tx: Transaction, viewer: Viewer, agent_id: str) -> Agent | None:
        """An enabled agent; a disabled one is unknown to whoever assigns."""
        if not ids.is_id(ids.AGENT, agent_id):
            return None
        agent = await agent_rows.get(tx, agent_id)
        del viewer
        return agent if agent is not None and agent.enabled else None

    # ------------------------------------------------------------------------------------------------------ reading

    async def get(self, viewer: Viewer, job_id: str, parts: Parts = WHOLE_JOB) -> Job | None:
        """One job; None where there is none, or the viewer may not see it."""
        if not ids.is_id(ids.JOB, job_id):
            return None
        async with self.database.read() as tx:
            return await job_rows.get(tx, viewer.scope, job_id, parts)

    async def get_many(self, viewer: Viewer, job_ids: Sequence[str], parts: Parts = WHOLE_JOB) -> Sequence[Job | None]:
        """Jobs by id, in the order asked for."""
        async with self.database.read() as tx:
            return await job_rows.get_many(tx, viewer.scope, job_ids, parts)

    async def page(
        self,
        viewer: Viewer,
        wanted: JobFilter,
        field: JobOrderField,
        direction: OrderDirection,
        page: Page,
        parts: Parts = WHOLE_JOB,
    ) -> PageOf[Job]:
        """Jobs that the viewer may see and the filter lets through."""
        async with self.database.read() as tx:
            return await job_rows.page(tx, viewer.scope, wanted, field, direction, page, parts)

    async def count(self, viewer: Viewer, wanted: JobFilter) -> int:
        """How many jobs that list has."""
        async with self.database.read() as tx:
            return await job_rows.count(tx, viewer.scope, wanted)

    async def counts_by_status(self, viewer: Viewer, wanted: JobFilter) -> Mapping[JobStatus, int]:
        """How many jobs of that list are in each status; every status is there."""
        async with self.database.read() as tx:
            counts = await job_rows.counts_by_status(tx, viewer.scope, wanted)
        return {status: counts.get(status, 0) for status in JobStatus}

    @staticmethod
    def available_actions(viewer: Viewer, job: Job, agent: Agent | None, latest: Execution | None) -> list[JobAction]:
        """What the viewer may do to the job now."""
        return available_actions(viewer, Situation(job, agent, latest))


_API_NAMES = {
    "title": "title",
    "description": "description",
    "input": "input",
    "acceptance_criteria": "acceptanceCriteria",
}


async def lock_visible(tx: Transaction, viewer: Viewer, job_id: str) -> Job | None:
    """Lock a job that the viewer may see; None where there is none such, and nothing is locked for long."""
    if not ids.is_id(ids.JOB, job_id):
        return None
    job = await job_rows.lock(tx, job_id)
    return job if job is not None and viewer.may_see(job) else None


async def _latest(tx: Transaction, job: Job) -> Execution | None:
    if job.latest_execution_id is None:
        return None
    run = await execution_rows.run(tx, job.latest_execution_id)
    return None if run is None else run.execution


def stale(job: Job, expected_revision: int | None) -> Refusal | None:
    """Refuse where the viewer saw another revision."""
    if expected_revision is None or expected_revision == job.revision:
        return None
    return Refusal(
        ErrorCode.STALE_REVISION,
        f"The job is at revision {job.revision} now, not {expected_revision}: look at it again first.",
        ("expectedRevision",),
    )


def conflict(key: str) -> Refusal:
    """Refuse an idempotency key that was used for something else."""
    return Refusal(
        ErrorCode.IDEMPOTENCY_CONFLICT,
        f"The idempotency key {key!r} was used with other arguments within the last day.",
        ("idempotencyKey",),
    )


def reason_problem(reason: str | None) -> Refusal | None:
    """Refuse an override without a reason."""
    if reason is None:
        return invalid("An override needs a reason.", "reason")
    return inputs.text(reason, ("reason",), inputs.REASON_CHARACTERS)


def _key_problem(key: str | None) -> Refusal | None:
    return None if key is None else inputs.text(key, ("idempotencyKey",), inputs.KEY_CHARACTERS)


def _agent_problem(agent_id: str | None) -> Refusal | None:
    known = agent_id is None or ids.is_id(ids.AGENT, agent_id)
    return None if known else not_found("agent", agent_id or "", "agentId")


def _owner_problem(owner_id: str | None) -> Refusal | None:
    return None if owner_id is None else inputs.text(owner_id, ("ownerId",), inputs.NAME_CHARACTERS)


def _only(refused: Refusal | None) -> tuple[Refusal, ...]:
    return () if refused is None else (refused,)


def _same(one: Any, other: Any) -> bool:
    """Whether two values of a field are written alike: 1, 1.0 and true are equal in Python."""
    return canonical(_written(one)) == canonical(_written(other))


def _written(value: Any) -> Any:
    return [asdict(item) for item in cast("tuple[Criterion, ...]", value)] if isinstance(value, tuple) else value


def _digest_of(draft: JobDraft) -> str:
    parts = dict(vars(draft)) | {"acceptance_criteria": [dict(vars(item)) for item in draft.acceptance_criteria]}
    parts.pop("idempotency_key")
    return digest(parts)


# The cursor of a list of jobs says what it is ordered by: another order's cursor is not one of this list.
def cursor_of(job: Job, field: JobOrderField) -> str:
    """The cursor of a job in a list of jobs."""
    time = job.created_at if field is JobOrderField.CREATED_AT else job.updated_at
    return cursors.encode(field.value, time, job.id)


def position(cursor: str, field: JobOrderField) -> cursors.Position:
    """Read a cursor of a list of jobs. Raises BadRequestError."""
    return cursors.decode(field.value, (datetime, str), cursor)
