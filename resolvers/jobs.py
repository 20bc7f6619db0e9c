"""Jobs: reading, writing, overriding them."""
# ruff: noqa: A002  (names of the contract)

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from functools import partial

import strawberry

from db import records
from db.records import WHOLE_EXECUTION, Agent, Execution, Job, JobStatus, Parts
from resolvers.context import Info
from resolvers.inputs import (
    AssignJobInput,
    CreateJobInput,
    ForceAssignJobInput,
    ForceCompleteJobInput,
    ForceResubmissionInput,
    JobFilter,
    JobOrder,
    UpdateJobInput,
)
from resolvers.keyed import Reading, keyed
from resolvers.loaders import Read
from resolvers.paging import Listed
from resolvers.parts import LISTED, parts
from resolvers.rates import counted
from services import cursors
from services.jobs import JobResult, cursor_of, position
from services.lifecycle import JobAction


@dataclass(frozen=True)
class StatusCount:
    """How many jobs are in a status."""

    status: JobStatus
    count: int


def job(info: Info, id: strawberry.ID) -> Awaitable[Job | None]:
    """One job that the viewer may see."""
    return info.context.services.jobs.get(info.context.require_viewer(), id, parts(info, Job, ()))


async def jobs(
    info: Info,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
    filter: JobFilter | None = None,
    order_by: JobOrder | None = None,
) -> Listed[Job]:
    """Jobs that the viewer may see."""
    viewer, service = info.context.require_viewer(), info.context.services.jobs
    order = order_by or JobOrder()
    wanted = filter.wanted() if filter else records.JobFilter()
    page = cursors.page(partial(position, field=order.field), first, after, last, before)
    return Listed(
        await service.page(viewer, wanted, order.field, order.direction, page, parts(info, Job, *LISTED)),
        partial(map, partial(cursor_of, field=order.field)),
        partial(service.count, viewer, wanted),
    )


async def job_counts(info: Info, filter: JobFilter | None = None) -> list[StatusCount]:
    """How many jobs there are in each status."""
    wanted = filter.wanted() if filter else records.JobFilter()
    counts = await info.context.services.jobs.counts_by_status(info.context.require_viewer(), wanted)
    return [StatusCount(status, count) for status, count in counts.items()]


# ------------------------------------------------------------------------------------------------ fields of a job


@keyed("agent_id")
def agent(info: Info) -> Reading[Agent | None]:
    """The agent of a job or an execution, enabled or not."""
    return Reading(partial(info.context.services.agents.get_many))


@keyed("latest_execution_id")
def latest_execution(info: Info) -> Reading[Execution | None]:
    """The job's latest execution."""
    return Reading(read_executions(info, parts(info, Execution, ())))


def read_executions(info: Info, parts: Parts) -> Read[Execution | None]:
    """How executions are read by their ids."""
    return partial(info.context.services.executions.get_many, info.context.require_viewer(), parts=parts)


async def available_actions(root: Job, info: Info) -> list[JobAction]:
    """What the viewer may do to the job now."""
    viewer, service = info.context.require_viewer(), info.context.services.jobs
    # At once, so that both join what is read for the same level.
    load, agents = info.context.load, info.context.services.agents
    present_agent = None if root.agent_id is None else load(partial(agents.get_many), root.agent_id)
    latest = (
        None
        if root.latest_execution_id is None
        else load(read_executions(info, WHOLE_EXECUTION), root.latest_execution_id)
    )
    return service.available_actions(
        viewer,
        root,
        None if present_agent is None else await present_agent,
        None if latest is None else await latest,
    )


# ------------------------------------------------------------------------------------------------------ mutations


@counted(JobResult)
async def create_job(info: Info, input: CreateJobInput) -> JobResult:
    """Create a job."""
    return await info.context.services.jobs.create(info.context.require_viewer(), input.draft())


@counted(JobResult)
async def update_job(info: Info, input: UpdateJobInput) -> JobResult:
    """Edit a job."""
    return await info.context.services.jobs.update(info.context.require_viewer(), input.job_id, input.edit())


@counted(JobResult)
async def assign_job(info: Info, input: AssignJobInput) -> JobResult:
    """Give a job an agent."""
    viewer, service = info.context.require_viewer(), info.context.services.jobs
    return await service.assign(viewer, input.job_id, input.agent_id, input.expected_revision)


@counted(JobResult)
async def force_assign_job(info: Info, input: ForceAssignJobInput) -> JobResult:
    """Put a job to ASSIGNED."""
    viewer, service = info.context.require_viewer(), info.context.services.jobs
    return await service.force_assign(viewer, input.job_id, input.agent_id, input.reason)


@counted(JobResult)
async def force_complete_job(info: Info, input: ForceCompleteJobInput) -> JobResult:
    """Put a job to COMPLETED."""
    viewer, service = info.context.require_viewer(), info.context.services.jobs
    return await service.force_complete(viewer, input.job_id, input.result_value(), input.reason)


@counted(JobResult)
async def force_resubmission(info: Info, input: ForceResubmissionInput) -> JobResult:
    """Put a job to RESUBMISSION_REQUIRED."""
    viewer, service = info.context.require_viewer(), info.context.services.jobs
    return await service.force_resubmission(viewer, input.job_id, input.reason)
