"""What mutations answer, and the smaller answers of queries and subscriptions."""

from __future__ import annotations

import datetime as dt

import strawberry
from strawberry.scalars import JSON

import resolvers.executions
import resolvers.logs
import resolvers.subscriptions
from db.records import JobStatus
from schema.field import field
from schema.nodes import Actor, Agent, Criterion, Execution, Job, JobLog
from services.refusals import ErrorCode


@strawberry.type(
    description="A refusal that a client can act on. Bugs and malformed requests are top-level errors instead."
)
class UserError:
    code: ErrorCode = field("Why.")
    message: str = field("Why, for a person.")
    path: list[str] | None = field("The field of the input that is to blame, from the outside in.")
    retry_at: dt.datetime | None = field("When to come back.")


@strawberry.type(description="What became of a mutation of an agent.")
class AgentPayload:
    agent: Agent | None = field("The agent as it stands; null where it may not be seen.")
    user_errors: list[UserError] = field("Why it was refused; empty where it was done.")


@strawberry.type(description="What became of a mutation of a job.")
class JobPayload:
    job: Job | None = field("The job as it stands, also where the mutation was refused.")
    user_errors: list[UserError] = field("Why it was refused; empty where it was done.")


@strawberry.type(description="What became of createJob.")
class CreateJobPayload:
    job: Job | None = field("The job; null where it was refused.")
    replayed: bool = field("True where the idempotency key was seen before.")
    user_errors: list[UserError] = field("Why it was refused; empty where it was done.")


@strawberry.type(description="What became of executeJob or retryValidation.")
class ExecuteJobPayload:
    job: Job | None = field("The job as it stands when the wait ends, also where the mutation was refused.")
    execution: Execution | None = field("The execution as it stands when the wait ends.")
    replayed: bool = field("True where the idempotency key was seen before.")
    user_errors: list[UserError] = field("Why it was refused; empty where it was done.")


@strawberry.type(description="How many jobs are in one status.")
class StatusCount:
    status: JobStatus = field("The status.")
    count: int = field("How many.")


@strawberry.type(description="What Execute would send and to whom, with nothing sent.")
class ExecutionPreview:
    request: JSON | None = field(
        "The request: method, url (admins only) and body, credentials in it blanked; null where none can be built."
    )
    input_errors: list[str] = field("Why the job's data does not fit the agent; empty where it does.")
    endpoint_allowed: bool = field("Whether the agent's address is one that may be called.")
    undecidable_criteria: list[Criterion] = field("Criteria that no configured check or validator can decide.")
    worst_case_cost_usd: float | None = field(
        "The most that validating the answer may cost, in US dollars by list prices; null where they are not known."
    )


@strawberry.type(description="One status change. `job` is read when the event is sent.")
class JobStatusChange:
    cursor: str = field(
        "Pass the last one received as `after` to go on without a gap or a repeat.",
        resolver=resolvers.subscriptions.cursor,
    )
    job_id: strawberry.ID = field("Whose status changed.")
    from_status: JobStatus | None = field("The status left; null at the creation.")
    to_status: JobStatus = field("The status entered.")
    timestamp: dt.datetime = field("When.")
    actor: Actor = field("Who caused it.")
    execution: Execution | None = field("The execution that it is about.", resolver=resolvers.logs.execution)
    job: Job = field("The job as it stands when the event is sent.", resolver=resolvers.executions.job)


@strawberry.type(description="One new log entry.")
class JobLogAppended:
    cursor: str = field(
        "Pass the last one received as `after` to go on without a gap or a repeat.",
        resolver=resolvers.subscriptions.cursor,
    )
    log: JobLog = field("The entry.", resolver=resolvers.subscriptions.entry)
