"""What can be asked, done and followed."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import strawberry

import resolvers.agents
import resolvers.executions
import resolvers.jobs
import resolvers.logs
import resolvers.queries
import resolvers.subscriptions
from schema.connections import Connection
from schema.field import field, subscription
from schema.nodes import Actor, Agent, Execution, Job, JobLog, Node
from schema.payloads import (
    AgentPayload,
    CreateJobPayload,
    ExecuteJobPayload,
    ExecutionPreview,
    JobLogAppended,
    JobPayload,
    JobStatusChange,
    StatusCount,
)


@strawberry.type(description="What can be asked. An unknown id, or one that is not yours to see, answers null.")
class Query:
    viewer: Actor | None = field("Who is asking; null without a token.", resolver=resolvers.queries.viewer)
    node: Node | None = field("Whatever the id names.", resolver=resolvers.queries.node)
    job: Job | None = field("One job.", resolver=resolvers.jobs.job)
    jobs: Connection[Job] = field("Jobs that you may see, newest first unless told.", resolver=resolvers.jobs.jobs)
    job_counts: list[StatusCount] = field("How many jobs are in each status.", resolver=resolvers.jobs.job_counts)
    agent: Agent | None = field("One agent.", resolver=resolvers.agents.agent)
    agents: Connection[Agent] = field("Agents that you may see, newest first.", resolver=resolvers.agents.agents)
    execution: Execution | None = field("One execution.", resolver=resolvers.executions.execution)
    execution_preview: ExecutionPreview | None = field(
        "What Execute would send and to whom, with nothing sent.", resolver=resolvers.executions.execution_preview
    )
    executors: list[str] = field("Names of the installed executors.", resolver=resolvers.queries.executors)
    validators: list[str] = field("Names of the installed validators.", resolver=resolvers.queries.validators)
    feed_cursor: str = field(
        "Where the feed of events stood before the rest of this query was read: subscribe `after` this, and nothing"
        " falls between.",
        resolver=resolvers.queries.feed_cursor,
    )
    job_logs: Connection[JobLog] = field(
        "The logs of all jobs, oldest first; admins only.", resolver=resolvers.logs.job_logs
    )


@strawberry.type(
    description="What can be done. A refusal is in the payload's userErrors, and then nothing was changed."
)
class Mutation:
    create_agent: AgentPayload = field("Register an agent; admins only.", resolver=resolvers.agents.create_agent)
    update_agent: AgentPayload = field("Change an agent; admins only.", resolver=resolvers.agents.update_agent)
    create_job: CreateJobPayload = field("Create a job.", resolver=resolvers.jobs.create_job)
    update_job: JobPayload = field(
        "Edit a job that is not in execution and not completed.", resolver=resolvers.jobs.update_job
    )
    assign_job: JobPayload = field("Give a job an agent, or another one.", resolver=resolvers.jobs.assign_job)
    execute_job: ExecuteJobPayload = field("Press Execute.", resolver=resolvers.executions.execute_job)
    retry_validation: ExecuteJobPayload = field(
        "Judge the kept answer again, without calling the agent.", resolver=resolvers.executions.retry_validation
    )
    cancel_execution: JobPayload = field("Cancel the live execution.", resolver=resolvers.executions.cancel_execution)
    force_assign_job: JobPayload = field(
        "Admins: put a job to ASSIGNED, whatever its status.", resolver=resolvers.jobs.force_assign_job
    )
    force_complete_job: JobPayload = field(
        "Admins: put a job to COMPLETED, whatever its status.", resolver=resolvers.jobs.force_complete_job
    )
    force_resubmission: JobPayload = field(
        "Admins: put a job to RESUBMISSION_REQUIRED, whatever its status.", resolver=resolvers.jobs.force_resubmission
    )


@strawberry.type(description="What can be followed live, over WebSocket (graphql-transport-ws) or SSE.")
class Subscription:
    job_status_changed: AsyncGenerator[JobStatusChange, None] = subscription(
        "Status changes of one job, or of every job that you may see. With `after`: first what was missed, then live.",
        resolver=resolvers.subscriptions.job_status_changed,
    )
    job_log_appended: AsyncGenerator[JobLogAppended, None] = subscription(
        "Each log entry of one job as it is committed. With `after`: first what was missed, then live.",
        resolver=resolvers.subscriptions.job_log_appended,
    )
