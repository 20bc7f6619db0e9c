"""Jobs, agents, executions, validations, logs, and what they are made of."""

from __future__ import annotations

import datetime as dt
from typing import Any, ClassVar

import strawberry
from strawberry.scalars import JSON

import resolvers.agents
import resolvers.executions
import resolvers.jobs
import resolvers.logs
from db import records
from db.records import (
    ExecutionOutcome,
    ExecutionState,
    JobLogStatus,
    JobLogType,
    JobStatus,
    PayloadState,
    Role,
    Verdict,
)
from schema.connections import Connection
from schema.field import field
from services.executions.comparison import CriterionChange
from services.lifecycle import JobAction


@strawberry.interface(description="Anything with an id of its own.")
class Node:
    record: ClassVar[type]
    """What resolvers return for the type."""

    id: strawberry.ID = field("Opaque; says by its prefix what it names.")

    @classmethod
    def is_type_of(cls, value: object, _info: Any) -> bool:
        """Tell which type shows a record."""
        return isinstance(value, cls.record)


@strawberry.type(description="Who did something: a person with a role, or the system itself (no id, no role).")
class Actor:
    id: strawberry.ID | None = field("The subject of their token; null for the system.")
    display_name: str = field("What to call them.")
    role: Role | None = field("What they might do then; null for the system.")


@strawberry.type(description="Somebody registered an agent or changed it.")
class AgentChange:
    timestamp: dt.datetime = field("When.")
    actor: Actor = field("Who.")
    fields: list[str] = field("Which fields, by name; values are not kept.")


@strawberry.type(description="A program that does jobs, and how it is called.")
class Agent(Node):
    record: ClassVar[type] = records.Agent

    name: str = field("What people call it.")
    executor: str = field("Which executor calls it: http_json, or the name of an installed plug-in.")
    endpoint_url: str | None = field(
        "Where its requests go. Admins only; null for others.", resolver=resolvers.agents.endpoint_url
    )
    input_schema: JSON | None = field("JSON Schema (2020-12) that the request body sent to the agent must meet.")
    output_schema: JSON | None = field("JSON Schema (2020-12) that the agent's answer must meet.")
    input_mapping: JSON | None = field(
        "How job data becomes the agent's input: property name to CEL expression over `job` and `previous`."
        " Null: by matching names."
    )
    timeout_seconds: float = field("How long one call may take.")
    max_concurrent_executions: int = field("How many calls may be under way at once.")
    idempotent: bool = field("True where the agent promises that the same request sent again has no second effect.")
    validator: str | None = field("Which validator judges its answers; null: the service's own.")
    enabled: bool = field("A disabled agent is called no more and offered to nobody.")
    has_secret: bool = field("Whether a credential is stored for it.")
    created_at: dt.datetime = field("When it was registered.")
    updated_at: dt.datetime = field("When it was last changed.")
    changes: Connection[AgentChange] = field(
        "Who registered and changed it, the latest first; admins only.", resolver=resolvers.agents.changes
    )


@strawberry.type(
    description="One acceptance criterion: decided by code where it has an expression or a schema, else judged."
)
class Criterion:
    id: strawberry.ID = field("Stays the same through edits.")
    text: str = field("What must hold of the answer, in a sentence.")
    required: bool = field("Whether the job cannot be completed without it.")
    expression: str | None = field("CEL over `answer` and `job` that decides it.")
    json_schema: JSON | None = field("JSON Schema (2020-12) that decides it.")


@strawberry.type(description="What was decided of one criterion, why, and by whom.")
class CriterionResult:
    criterion: Criterion = field("The criterion, as it was then.")
    verdict: Verdict = field("What was decided.")
    rationale: str = field("Why, in one sentence.")
    evidence: list[str] = field("Exact quotes from the answer; each was found in it.")
    decided_by: str = field("What decided: expression, json_schema, or the validator's or model's name.")


@strawberry.type(description="What was decided of one criterion, against the attempt before.")
class CriterionComparison:
    criterion: Criterion = field("The criterion, as it was then.")
    change: CriterionChange = field("What became of it since.")
    now: CriterionResult = field("What was decided this time.")
    before: CriterionResult | None = field(
        "What was decided of the same demand in the latest judged attempt before; null where it is NEW."
    )


@strawberry.type(description="What the owner should know and do next.")
class JobNotice:
    code: ExecutionOutcome | None = field("Null while an execution still waits (for the validator, say).")
    message: str = field("What happened and what to do, for a person.")
    retryable: bool = field("Whether trying again may help.")
    failed_criteria: list[CriterionResult] = field("What was not met, with reasons and quotes.")


@strawberry.type(description="Work for an agent, with the criteria that its result must meet.")
class Job(Node):
    record: ClassVar[type] = records.Job

    revision: int = field("Rises by one with every edit; pass it back as expectedRevision to edit safely.")
    title: str = field("What people call it.")
    description: str = field("What is to be done.")
    input: JSON = field("The data to do it with.")
    acceptance_criteria: list[Criterion] = field("What an answer must meet.")
    status: JobStatus = field("Where it stands.")
    result: JSON | None = field("The accepted result; null unless COMPLETED.")
    notice: JobNotice | None = field("What to know and do after an execution that was not accepted; null otherwise.")
    agent: Agent | None = field("Who does it; null while PENDING.", resolver=resolvers.jobs.agent)
    owner: Actor = field("Whose it is.")
    created_at: dt.datetime = field("When it was created.")
    updated_at: dt.datetime = field("When it last changed.")
    available_actions: list[JobAction] = field(
        "What this viewer may do now: drives the buttons.", resolver=resolvers.jobs.available_actions
    )
    latest_execution: Execution | None = field("The last press of Execute.", resolver=resolvers.jobs.latest_execution)
    executions: Connection[Execution] = field(
        "Every press of Execute, oldest first.", resolver=resolvers.executions.of_job
    )
    logs: Connection[JobLog] = field(
        "Oldest first. Cursors serve as `after` of the subscriptions too.", resolver=resolvers.logs.of_job
    )


@strawberry.type(description="One run of the validator over one answer.")
class Validation(Node):
    record: ClassVar[type] = records.Validation

    validator: str = field("Which validator ran.")
    model: str | None = field("Which model judged, where one did.")
    votes: int | None = field("How many judgements of the model it rests on.")
    prompt: str | None = field("Which words the model was asked with: their version and digest.")
    system_fingerprint: str | None = field("What the service says of the machinery that its model ran on.")
    verdict: Verdict = field("FAIL where a required criterion failed, else UNSURE where one is unsure, else PASS.")
    criteria: list[CriterionResult] = field("What was decided of each criterion.")
    feedback: str = field("What the agent and the owner are told to do better.")
    prompt_tokens: int | None = field("Tokens sent to the model.")
    completion_tokens: int | None = field("Tokens that the model answered.")
    cost_usd: float | None = field("What it cost, in US dollars, where the price is known.")
    duration_ms: int = field("How long it took, in milliseconds.")
    created_at: dt.datetime = field("When it was done.")


@strawberry.type(description="One press of Execute.")
class Execution(Node):
    record: ClassVar[type] = records.Execution

    number: int = field("1, 2, 3 … within its job.")
    job: Job = field("What is executed.", resolver=resolvers.executions.job)
    job_revision: int = field("The job's revision at its start: later edits do not reach it.")
    agent: Agent = field("Who was asked.", resolver=resolvers.jobs.agent)
    state: ExecutionState = field("Where it stands.")
    outcome: ExecutionOutcome | None = field("How it ended; null until FINISHED.")
    requested_by: Actor = field("Who pressed Execute.")
    idempotency_key: str = field("Sent to the agent with every try of this execution, unchanged.")
    answer: JSON | None = field(
        "The agent's answer, kept even where it was not accepted; credentials in it are blanked.",
        resolver=resolvers.executions.answer,
    )
    validation: Validation | None = field(
        "The last validation of the answer.", resolver=resolvers.executions.validation
    )
    comparison: list[CriterionComparison] = field(
        "Each criterion against the latest judged attempt before this one; empty until judged.",
        resolver=resolvers.executions.comparison,
    )
    validations: Connection[Validation] = field(
        "Every validation of the answer, oldest first.", resolver=resolvers.executions.validations
    )
    logs: Connection[JobLog] = field("Its part of the job's log, oldest first.", resolver=resolvers.logs.of_execution)
    queued_at: dt.datetime = field("When Execute was pressed.")
    started_at: dt.datetime | None = field("When work on it began.")
    finished_at: dt.datetime | None = field("When it ended.")
    next_retry_at: dt.datetime | None = field("When the validator is asked again, while WAITING_RETRY.")


@strawberry.type(description="One entry of a job's log.")
class JobLog(Node):
    record: ClassVar[type] = records.JobLog

    job_id: strawberry.ID = field("Whose log it is in.")
    job: Job = field("Whose log it is in.", resolver=resolvers.executions.job)
    execution: Execution | None = field("The execution that it is about.", resolver=resolvers.logs.execution)
    attempt: int | None = field("Which try within the execution, from 1.")
    timestamp: dt.datetime = field("When it was written.")
    type: JobLogType = field("What kind of thing happened.")
    status: JobLogStatus = field("How it went.")
    message: str = field("One line that a person can read.")
    actor: Actor = field("Who did it.")
    kept_payload: JSON | None = field(
        "What was sent or received, or what changed; credentials in it are blanked.", name="payload"
    )
    payload_state: PayloadState = field("What is kept of the payload.")
    payload_bytes: int = field("Size of the whole payload, whatever is stored of it.")
    from_status: JobStatus | None = field("The status left, for a STATUS_CHANGE; null at the creation.")
    to_status: JobStatus | None = field("The status entered, for a STATUS_CHANGE.")
    http_status: int | None = field("The HTTP status of a response.")
    duration_ms: int | None = field("How long the call took, in milliseconds.")
    error_code: str | None = field("A stable word for what went wrong.")
    trace_id: str | None = field("The trace that it belongs to (W3C Trace Context).")
