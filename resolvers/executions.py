"""Executions and their validations: reading them, Execute, validate again, cancel."""
# ruff: noqa: A002  (names of the contract)

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial

import strawberry

from db.records import Execution, Job, JsonValue, Validation
from resolvers.context import Info
from resolvers.inputs import CancelExecutionInput, ExecuteJobInput, RetryValidationInput
from resolvers.keyed import Reading, keyed
from resolvers.paging import Listed, listed
from resolvers.parts import LISTED, parts
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


def execution(info: Info, id: strawberry.ID) -> Awaitable[Execution | None] | None:
    """One execution that the viewer may see."""
    viewer, service = info.context.require_viewer(), info.context.services.executions
    return info.context.load(partial(service.get_many, viewer), id) if ids.is_id(ids.EXECUTION, id) else None


async def execution_preview(info: Info, job_id: strawberry.ID) -> ExecutionPreview | None:
    """What Execute would send."""
    services = info.context.services
    return await services.executions.preview(
        info.context.require_viewer(),
        job_id,
        endpoint_problem=services.agents.endpoint_problem,
        can_judge=services.can_judge,
    )


@keyed("id")
def of_job(
    info: Info,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
) -> Reading[Listed[Execution]]:
    """A job's executions, in the order of their numbers."""
    viewer, service = info.context.require_viewer(), info.context.services.executions
    page = cursors.page(position, first, after, last, before)
    read = partial(service.of_jobs, viewer, page=page, parts=parts(info, Execution, *LISTED))
    return listed(info, read, partial(service.count_of_jobs, viewer), partial(map, cursor_of))


# ------------------------------------------------------------------------------------------ fields of an execution


@keyed("job_id")
def job(info: Info) -> Reading[Job | None]:
    """The job of an execution or of a log entry."""
    viewer, service = info.context.require_viewer(), info.context.services.jobs
    return Reading(partial(service.get_many, viewer, parts=parts(info, Job, ())))


async def answer(root: Execution, info: Info) -> JsonValue:
    """The agent's answer, without credentials."""
    redact = info.context.services.redact
    return await beside_the_loop(redact, root.answer) if is_large(root.answer) else redact(root.answer)


@keyed("latest_validation_id")
def validation(info: Info) -> Reading[Validation | None]:
    """The execution's latest validation."""
    return Reading(partial(info.context.services.executions.validations, info.context.require_viewer()))


async def comparison(root: Execution, info: Info) -> list[CriterionComparison]:
    """An execution against the attempt before."""
    if root.latest_validation_id is None:
        return []
    viewer, service = info.context.require_viewer(), info.context.services.executions
    return await info.context.load(partial(service.comparisons, viewer), root.id)


@keyed("id")
def validations(info: Info, first: int | None = None, after: str | None = None) -> Reading[Listed[Validation]]:
    """All validations of an execution, in the order of their numbers."""
    viewer, service = info.context.require_viewer(), info.context.services.executions
    page = cursors.page(validation_position, first, after, None, None)
    read, count = partial(service.validations_of, viewer, page=page), partial(service.count_validations_of, viewer)
    return listed(info, read, count, partial(map, validation_cursor_of))


# ------------------------------------------------------------------------------------------------------ mutations


@counted(ExecuteResult, waits=True)
async def execute_job(info: Info, input: ExecuteJobInput) -> ExecuteResult:
    """Press Execute."""
    return await info.context.services.executions.execute(info.context.require_viewer(), input.command())


@counted(ExecuteResult, waits=True)
async def retry_validation(info: Info, input: RetryValidationInput) -> ExecuteResult:
    """Judge the kept answer again."""
    viewer, service = info.context.require_viewer(), info.context.services.executions
    return await service.retry_validation(viewer, input.job_id, input.wait_seconds)


@counted(JobResult)
async def cancel_execution(info: Info, input: CancelExecutionInput) -> JobResult:
    """Cancel the live execution."""
    viewer, service = info.context.require_viewer(), info.context.services.executions
    return await service.cancel(viewer, input.job_id, input.execution_id, input.reason)
