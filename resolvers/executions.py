"""Executions and their validations: reading them, Execute, validate again, cancel."""
# ruff: noqa: A002  (names of the contract)

from __future__ import annotations

from functools import partial

import strawberry

from db.records import Execution, Job, JobLog, JsonValue, Validation
from resolvers.context import Info
from resolvers.inputs import CancelExecutionInput, ExecuteJobInput, RetryValidationInput
from resolvers.paging import Listed
from resolvers.rates import counted
from services import cursors, ids
from services.executions.comparison import CriterionComparison
from services.executions.requests import (
    ExecuteResult,
    ExecutionPreview,
    cursor_of,
    position,
    validation_cursor_of,
    validation_position,
)
from services.jobs import JobResult
from services.large_values import beside_the_loop, is_large


async def execution(info: Info, id: strawberry.ID) -> Execution | None:
    """One execution that the viewer may see."""
    viewer, service = info.context.require_viewer(), info.context.services.executions
    return await info.context.load(partial(service.get_many, viewer), id) if ids.is_id(ids.EXECUTION, id) else None


async def execution_preview(info: Info, job_id: strawberry.ID) -> ExecutionPreview | None:
    """What Execute would send."""
    services = info.context.services
    return await services.executions.preview(
        info.context.require_viewer(),
        job_id,
        endpoint_problem=services.agents.endpoint_problem,
        can_judge=services.can_judge,
    )


async def of_job(
    root: Job,
    info: Info,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
) -> Listed[Execution]:
    """A job's executions, in the order of their numbers."""
    viewer, service = info.context.require_viewer(), info.context.services.executions
    page = cursors.page(position, first, after, last, before)
    return Listed(
        await info.context.load(partial(service.of_jobs, viewer, page=page), root.id),
        cursor_of,
        partial(info.context.load, partial(service.count_of_jobs, viewer), root.id),
    )


# ------------------------------------------------------------------------------------------ fields of an execution


async def job(root: Execution | JobLog, info: Info) -> Job | None:
    """The job of an execution or of a log entry."""
    viewer, service = info.context.require_viewer(), info.context.services.jobs
    return await info.context.load(partial(service.get_many, viewer), root.job_id)


async def answer(root: Execution, info: Info) -> JsonValue:
    """The agent's answer, without credentials."""
    redact = info.context.services.redact
    return await beside_the_loop(redact, root.answer) if is_large(root.answer) else redact(root.answer)


async def validation(root: Execution, info: Info) -> Validation | None:
    """The execution's latest validation."""
    if root.latest_validation_id is None:
        return None
    viewer, service = info.context.require_viewer(), info.context.services.executions
    return await info.context.load(partial(service.validations, viewer), root.latest_validation_id)


async def comparison(root: Execution, info: Info) -> list[CriterionComparison]:
    """An execution against the attempt before."""
    if root.latest_validation_id is None:
        return []
    viewer, service = info.context.require_viewer(), info.context.services.executions
    return await info.context.load(partial(service.comparisons, viewer), root.id)


async def validations(
    root: Execution, info: Info, first: int | None = None, after: str | None = None
) -> Listed[Validation]:
    """All validations of an execution, in the order of their numbers."""
    viewer, service = info.context.require_viewer(), info.context.services.executions
    page = cursors.page(validation_position, first, after, None, None)
    return Listed(
        await info.context.load(partial(service.validations_of, viewer, page=page), root.id),
        validation_cursor_of,
        partial(info.context.load, partial(service.count_validations_of, viewer), root.id),
    )


# ------------------------------------------------------------------------------------------------------ mutations


@counted(ExecuteResult)
async def execute_job(info: Info, input: ExecuteJobInput) -> ExecuteResult:
    """Press Execute."""
    return await info.context.services.executions.execute(info.context.require_viewer(), input.command())


@counted(ExecuteResult)
async def retry_validation(info: Info, input: RetryValidationInput) -> ExecuteResult:
    """Judge the kept answer again."""
    viewer, service = info.context.require_viewer(), info.context.services.executions
    return await service.retry_validation(viewer, input.job_id, input.wait_seconds)


@counted(JobResult)
async def cancel_execution(info: Info, input: CancelExecutionInput) -> JobResult:
    """Cancel the live execution."""
    viewer, service = info.context.require_viewer(), info.context.services.executions
    return await service.cancel(viewer, input.job_id, input.execution_id, input.reason)
