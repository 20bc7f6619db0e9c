"""What clients send: the contract's input types, and how each becomes what a service takes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, cast

import strawberry
from strawberry.scalars import JSON

from db import records
from db.records import ExecutionOutcome, JobLogStatus, JobLogType, JobOrderField, JobStatus, JsonValue, OrderDirection
from services import ids
from services.agents import AgentDraft
from services.executions.requests import Execute
from services.inputs import CriterionDraft
from services.jobs import JobDraft, JobEdit
from services.refusals import BadRequestError
from services.strict_json import InvalidJsonError, check

T = TypeVar("T")

# A hundred years: beyond anything that is in execution, within what both databases add to a time.
_LONGEST_SECONDS = 100 * 366 * 86_400
_LARGEST_LIST = 1_000


def _json(value: JSON | None) -> JsonValue:
    """The JSON scalar has checked it; its type in Python says nothing."""
    return cast("JsonValue", value)


def _text(name: str, value: str) -> str:
    """A text of a filter, which no database may choke on. Raises BadRequestError."""
    try:
        check(value)
    except InvalidJsonError as error:
        message = f"{name}: {error}"
        raise BadRequestError(message) from None
    return value


def _listed(name: str, values: Sequence[T] | None) -> tuple[T, ...] | None:
    if values is None:
        return None
    if len(values) > _LARGEST_LIST:
        message = f"{name} has at most {_LARGEST_LIST} values, not {len(values)}."
        raise BadRequestError(message)
    return tuple(values)


# ----------------------------------------------------------------------------------------------------- filters


@strawberry.input(description="Which jobs; every given part must hold.")
class JobFilter:
    statuses: list[JobStatus] | None = strawberry.field(default=None, description="In one of these statuses.")
    agent_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Assigned to one of these agents."
    )
    owner_ids: list[strawberry.ID] | None = strawberry.field(default=None, description="Owned by one of these people.")
    outcomes: list[ExecutionOutcome] | None = strawberry.field(
        default=None, description="Whose latest execution ended in one of these ways."
    )
    created_after: dt.datetime | None = strawberry.field(default=None, description="Created after this moment.")
    created_before: dt.datetime | None = strawberry.field(default=None, description="Created before this moment.")
    updated_after: dt.datetime | None = strawberry.field(default=None, description="Changed after this moment.")
    in_execution_longer_than_seconds: float | None = strawberry.field(
        default=None, description="In execution for longer than this: what an operator looks for."
    )
    search: str | None = strawberry.field(default=None, description="Words in title and description.")

    def wanted(self) -> records.JobFilter:
        """Return the services' filter. Raises BadRequestError."""
        seconds = self.in_execution_longer_than_seconds
        # `not <=` and not `>`: NaN is in no range.
        if seconds is not None and not 0 <= seconds <= _LONGEST_SECONDS:
            message = f"inExecutionLongerThanSeconds must be between 0 and {_LONGEST_SECONDS}."
            raise BadRequestError(message)
        agent_ids = _listed("agentIds", self.agent_ids)
        owner_ids = _listed("ownerIds", self.owner_ids)
        return records.JobFilter(
            statuses=_listed("statuses", self.statuses),
            # What is no id is the id of nothing.
            agent_ids=None if agent_ids is None else tuple(item for item in agent_ids if ids.is_id(ids.AGENT, item)),
            owner_ids=None if owner_ids is None else tuple(_text("ownerIds", item) for item in owner_ids),
            outcomes=_listed("outcomes", self.outcomes),
            created_after=self.created_after,
            created_before=self.created_before,
            updated_after=self.updated_after,
            in_execution_longer_than_seconds=seconds,
            search=None if self.search is None else _text("search", self.search),
        )


@strawberry.input(description="Which log entries; every given part must hold.")
class JobLogFilter:
    types: list[JobLogType] | None = strawberry.field(default=None, description="Of one of these kinds.")
    statuses: list[JobLogStatus] | None = strawberry.field(default=None, description="That went one of these ways.")
    execution_id: strawberry.ID | None = strawberry.field(default=None, description="Of this execution.")
    after: dt.datetime | None = strawberry.field(default=None, description="Written after this moment.")
    before: dt.datetime | None = strawberry.field(default=None, description="Written before this moment.")

    def wanted(self) -> records.JobLogFilter:
        """Return the services' filter. Raises BadRequestError."""
        return records.JobLogFilter(
            types=_listed("types", self.types),
            statuses=_listed("statuses", self.statuses),
            execution_id=None if self.execution_id is None else _text("executionId", self.execution_id),
            after=self.after,
            before=self.before,
        )


@strawberry.input(description="What a list of jobs is ordered by.")
class JobOrder:
    field: JobOrderField = strawberry.field(
        default=JobOrderField.CREATED_AT, description="The moment that counts; equal ones go by id."
    )
    direction: OrderDirection = strawberry.field(default=OrderDirection.DESC, description="Which end comes first.")


# -------------------------------------------------------------------------------------------------- criteria


@strawberry.input(one_of=True, description="How code decides a criterion: exactly one of these.")
class CheckInput:
    expression: str | None = strawberry.field(
        default=strawberry.UNSET, description="CEL over `answer` and `job`; true passes, false fails."
    )
    json_schema: JSON | None = strawberry.field(
        default=strawberry.UNSET, description="JSON Schema (2020-12) that the answer must meet."
    )


@strawberry.input(description="One acceptance criterion as its author writes it.")
class CriterionInput:
    id: strawberry.ID | None = strawberry.field(
        default=None, description="Keeps an existing criterion's id when editing; absent: a new criterion."
    )
    text: str = strawberry.field(description="What must hold of the answer, in a sentence.")
    required: bool = strawberry.field(default=True, description="Whether the job cannot be completed without it.")
    check: CheckInput | None = strawberry.field(default=None, description="Absent: the validator judges it.")

    def draft(self) -> CriterionDraft:
        """Return what the services take."""
        expression = self.check.expression if self.check else None
        json_schema = self.check.json_schema if self.check else None
        return CriterionDraft(
            text=self.text,
            required=self.required,
            id=self.id,
            expression=None if expression is strawberry.UNSET else expression,
            json_schema=None if json_schema is strawberry.UNSET else _json(json_schema),
        )


def _drafts(criteria: Iterable[CriterionInput]) -> tuple[CriterionDraft, ...]:
    return tuple(item.draft() for item in criteria)


# ---------------------------------------------------------------------------------------------------- agents


@strawberry.input(description="A new agent.")
class CreateAgentInput:
    name: str = strawberry.field(description="What people call it.")
    executor: str = strawberry.field(default="http_json", description="Which installed executor calls it.")
    endpoint_url: str = strawberry.field(description="Where its requests go: http or https, a public address.")
    input_schema: JSON | None = strawberry.field(
        default=None, description="JSON Schema (2020-12) that a request's body must meet."
    )
    output_schema: JSON | None = strawberry.field(
        default=None, description="JSON Schema (2020-12) that an answer must meet."
    )
    input_mapping: JSON | None = strawberry.field(
        default=None,
        description="Property name to CEL expression over `job` and `previous`; absent: by matching names.",
    )
    timeout_seconds: float = strawberry.field(default=60, description="How long one call may take; at most 900.")
    max_concurrent_executions: int = strawberry.field(
        default=16, description="How many calls may be under way at once, in all processes together."
    )
    idempotent: bool = strawberry.field(
        default=False, description="Whether a repeated request with the same key has no second effect."
    )
    validator: str | None = strawberry.field(
        default=None, description="Which installed validator judges its answers; absent: the service's own."
    )
    secret: str | None = strawberry.field(
        default=None, description="Bearer credential sent to the agent; stored encrypted, never returned."
    )

    def draft(self) -> AgentDraft:
        """Return what the services take."""
        return AgentDraft(
            name=self.name,
            endpoint_url=self.endpoint_url,
            executor=self.executor,
            input_schema=_json(self.input_schema),
            output_schema=_json(self.output_schema),
            input_mapping=_json(self.input_mapping),
            timeout_seconds=self.timeout_seconds,
            max_concurrent_executions=self.max_concurrent_executions,
            idempotent=self.idempotent,
            validator=self.validator,
            secret=self.secret,
        )


@strawberry.input(
    description="Changes to an agent. Absent: unchanged. Null: cleared where it can be empty, else INVALID_INPUT."
)
class UpdateAgentInput:
    agent_id: strawberry.ID = strawberry.field(description="Which agent.")
    name: strawberry.Maybe[str | None] = strawberry.field(description="What people call it.")
    endpoint_url: strawberry.Maybe[str | None] = strawberry.field(description="Where its requests go.")
    input_schema: strawberry.Maybe[JSON | None] = strawberry.field(
        description="JSON Schema (2020-12) that a request's body must meet; null: any."
    )
    output_schema: strawberry.Maybe[JSON | None] = strawberry.field(
        description="JSON Schema (2020-12) that an answer must meet; null: any."
    )
    input_mapping: strawberry.Maybe[JSON | None] = strawberry.field(
        description="Property name to CEL expression; null: by matching names."
    )
    timeout_seconds: strawberry.Maybe[float | None] = strawberry.field(
        description="How long one call may take; at most 900."
    )
    max_concurrent_executions: strawberry.Maybe[int | None] = strawberry.field(
        description="How many calls may be under way at once."
    )
    idempotent: strawberry.Maybe[bool | None] = strawberry.field(
        description="Whether a repeated request with the same key has no second effect."
    )
    enabled: strawberry.Maybe[bool | None] = strawberry.field(
        description="A disabled agent is called no more and offered to nobody."
    )
    validator: strawberry.Maybe[str | None] = strawberry.field(
        description="Which installed validator judges its answers; null: the service's own."
    )
    secret: strawberry.Maybe[str | None] = strawberry.field(
        description="Bearer credential sent to the agent; null: none any more."
    )

    def changes(self) -> dict[str, Any]:
        """Return the fields given, by the names of AgentDraft."""
        given = ((name, getattr(self, name)) for name in AgentDraft.__dataclass_fields__ if hasattr(self, name))
        return {name: item.value for name, item in given if item is not None}


# ------------------------------------------------------------------------------------------------------ jobs


@strawberry.input(description="A new job.")
class CreateJobInput:
    title: str = strawberry.field(description="What people call it.")
    description: str = strawberry.field(default="", description="What is to be done.")
    input: JSON | None = strawberry.field(default=None, description="The data to do it with. Absent or null: {}.")
    acceptance_criteria: list[CriterionInput] = strawberry.field(
        description="What an answer must meet: at least one, at least one of them required."
    )
    agent_id: strawberry.ID | None = strawberry.field(default=None, description="Assign it to this agent at once.")
    owner_id: strawberry.ID | None = strawberry.field(default=None, description="Admins: on behalf of this owner.")
    idempotency_key: str | None = strawberry.field(
        default=None, description="The same key again, within a day, returns the same job."
    )

    def draft(self) -> JobDraft:
        """Return what the services take."""
        return JobDraft(
            title=self.title,
            acceptance_criteria=_drafts(self.acceptance_criteria),
            description=self.description,
            input=_json(self.input),
            agent_id=self.agent_id,
            owner_id=self.owner_id,
            idempotency_key=self.idempotency_key,
        )


@strawberry.input(description="Changes to a job. Absent: unchanged. Null: INVALID_INPUT.")
class UpdateJobInput:
    job_id: strawberry.ID = strawberry.field(description="Which job.")
    expected_revision: int = strawberry.field(
        description="The revision that was looked at; any other is STALE_REVISION."
    )
    title: strawberry.Maybe[str | None] = strawberry.field(description="What people call it.")
    description: strawberry.Maybe[str | None] = strawberry.field(description="What is to be done.")
    input: strawberry.Maybe[JSON | None] = strawberry.field(description="The data to do it with.")
    acceptance_criteria: strawberry.Maybe[list[CriterionInput] | None] = strawberry.field(
        description="All of them: one that is left out is dropped."
    )

    def edit(self) -> JobEdit:
        """Return what the services take."""
        title, description, input_, criteria = self.title, self.description, self.input, self.acceptance_criteria
        parts = (("title", title), ("description", description), ("input", input_), ("acceptanceCriteria", criteria))
        return JobEdit(
            expected_revision=self.expected_revision,
            title=title.value if title else None,
            description=description.value if description else None,
            input=_json(input_.value) if input_ else None,
            acceptance_criteria=_drafts(criteria.value) if criteria and criteria.value is not None else None,
            nulls=tuple(name for name, item in parts if item is not None and item.value is None),
        )


@strawberry.input(description="Give a job an agent, or another one.")
class AssignJobInput:
    job_id: strawberry.ID = strawberry.field(description="Which job.")
    agent_id: strawberry.ID = strawberry.field(description="Which agent; it must be enabled.")
    expected_revision: int | None = strawberry.field(default=None, description="Only if this is still the revision.")


@strawberry.input(description="Press Execute.")
class ExecuteJobInput:
    job_id: strawberry.ID = strawberry.field(description="Which job.")
    wait_seconds: float = strawberry.field(
        default=30,
        description="How long the mutation waits for the outcome before it returns the job as it stands, at most 300;"
        " 0 returns at once. The execution goes on either way.",
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="The same key again, within a day, returns the same execution; with other arguments it is refused.",
    )
    expected_revision: int | None = strawberry.field(default=None, description="Only if this is still the revision.")
    force: bool = strawberry.field(
        default=False,
        description="Admins: execute whatever the status; a running execution is superseded. Needs a reason.",
    )
    reason: str | None = strawberry.field(default=None, description="Why it is forced; goes into the log.")

    def command(self) -> Execute:
        """Return what the services take."""
        return Execute(
            job_id=self.job_id,
            wait_seconds=self.wait_seconds,
            idempotency_key=self.idempotency_key,
            expected_revision=self.expected_revision,
            force=self.force,
            reason=self.reason,
        )


@strawberry.input(description="Judge the kept answer of the latest execution again, now, without calling the agent.")
class RetryValidationInput:
    job_id: strawberry.ID = strawberry.field(description="Which job.")
    wait_seconds: float = strawberry.field(
        default=30, description="How long the mutation waits for the verdict, at most 300; 0 returns at once."
    )


@strawberry.input(description="Cancel the live execution: the job is as before Execute.")
class CancelExecutionInput:
    job_id: strawberry.ID = strawberry.field(description="Which job.")
    execution_id: strawberry.ID | None = strawberry.field(
        default=None, description="Only this execution, if it is still the live one."
    )
    reason: str | None = strawberry.field(default=None, description="Why; goes into the log.")


@strawberry.input(description="Put a job to ASSIGNED with this agent, whatever its status.")
class ForceAssignJobInput:
    job_id: strawberry.ID = strawberry.field(description="Which job.")
    agent_id: strawberry.ID = strawberry.field(description="Which agent; it must be enabled.")
    reason: str = strawberry.field(description="Why; goes into the log.")


@strawberry.input(description="Put a job to COMPLETED with this result, whatever its status.")
class ForceCompleteJobInput:
    job_id: strawberry.ID = strawberry.field(description="Which job.")
    result: JSON | None = strawberry.field(
        default=None, description="The result. Absent or null: the kept answer of the latest execution."
    )
    reason: str = strawberry.field(description="Why; goes into the log.")

    def result_value(self) -> JsonValue:
        """Return the result as the services take it."""
        return _json(self.result)


@strawberry.input(description="Put a job to RESUBMISSION_REQUIRED, with the reason as its notice.")
class ForceResubmissionInput:
    job_id: strawberry.ID = strawberry.field(description="Which job.")
    reason: str = strawberry.field(description="Why; the owner is told.")
