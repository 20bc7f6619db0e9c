"""What the tables hold, as frozen values: the one vocabulary that every layer above may share.

Standard library only. A record is what a statement function returns; nothing here knows SQL or GraphQL.
Times are aware datetimes in UTC by the database's clock. JSON values are plain Python values.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, cast, dataclass_transform

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

R = TypeVar("R")
JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"


class StoredJson(str):
    """JSON as it is stored: canonical text that nobody has read yet."""

    __slots__ = ()


def read(kept: JsonValue) -> JsonValue:
    """What is kept, read where nobody has yet."""
    value: JsonValue = json.loads(kept) if isinstance(kept, StoredJson) else kept
    return value


class Role(StrEnum):
    """What a person may do; the system itself has none."""

    CLIENT = "client"
    ADMIN = "admin"


class JobStatus(StrEnum):
    """The five statuses that clients see. Nuance lives in the execution, never in a sixth."""

    PENDING = "pending"
    ASSIGNED = "assigned"
    IN_EXECUTION = "in_execution"
    RESUBMISSION_REQUIRED = "resubmission_required"
    COMPLETED = "completed"


class ExecutionState(StrEnum):
    """Where an execution stands. The job is IN_EXECUTION until FINISHED."""

    QUEUED = "queued"
    CALLING_AGENT = "calling_agent"
    VALIDATING = "validating"
    WAITING_RETRY = "waiting_retry"
    FINISHED = "finished"


class ExecutionOutcome(StrEnum):
    """How an execution ended."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNDECIDED = "undecided"
    OUTPUT_INVALID = "output_invalid"
    INPUT_INVALID = "input_invalid"
    AGENT_FAILED = "agent_failed"
    AGENT_OUTCOME_UNKNOWN = "agent_outcome_unknown"
    VALIDATOR_UNAVAILABLE = "validator_unavailable"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


class Verdict(StrEnum):
    """What a check says of a criterion. Doubt is UNSURE and never resolves to PASS."""

    PASS = "pass"  # noqa: S105  (a verdict, not a password)
    FAIL = "fail"
    UNSURE = "unsure"


class JobLogType(StrEnum):
    """The kinds of log entry: calls of agents and validators, and what was done to the job."""

    AGENT_REQUEST = "agent_request"
    AGENT_RESPONSE = "agent_response"
    VALIDATOR_REQUEST = "validator_request"
    VALIDATOR_RESPONSE = "validator_response"
    STATUS_CHANGE = "status_change"
    JOB_EDIT = "job_edit"
    ADMIN_ACTION = "admin_action"


class JobLogStatus(StrEnum):
    """How the logged thing went. UNKNOWN: it may or may not have happened."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    UNKNOWN = "unknown"


class PayloadState(StrEnum):
    """What is kept of a log entry's payload."""

    STORED = "stored"
    TRUNCATED = "truncated"
    PURGED = "purged"


class JobOrderField(StrEnum):
    """What a list of jobs is ordered by."""

    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"


class OrderDirection(StrEnum):
    """Ascending or descending."""

    ASC = "asc"
    DESC = "desc"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did something: a person with a role, or the system itself (no id, no role)."""

    id: str | None
    display_name: str
    role: Role | None


SYSTEM = Actor(id=None, display_name="Signoff", role=None)


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose jobs a read may see: one owner's, or everybody's where `owner_id` is None."""

    owner_id: str | None


EVERYTHING = Scope(owner_id=None)


@dataclass(frozen=True, slots=True)
class Agent:
    """A registered agent. `secret` is the encrypted credential, never the credential itself.

    While it rotates, `previous_secret` is the one before, good for signing until `previous_secret_until`.
    """

    id: str
    name: str
    executor: str
    endpoint_url: str
    input_schema: JsonValue
    output_schema: JsonValue
    input_mapping: Mapping[str, str] | None
    timeout_seconds: float
    max_concurrent_executions: int
    idempotent: bool
    enabled: bool
    validator: str | None
    """Judges its answers; None: the service's own."""
    secret: str | None = field(repr=False)
    created_at: datetime
    updated_at: datetime
    previous_secret: str | None = field(default=None, repr=False)
    previous_secret_until: datetime | None = None

    @property
    def has_secret(self) -> bool:
        """Whether a credential is stored."""
        return self.secret is not None


@dataclass(frozen=True, slots=True)
class AgentChange:
    """Somebody registered an agent or changed it: the names of the fields, as the API calls them."""

    agent_id: str
    number: int
    timestamp: datetime
    actor: Actor
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Criterion:
    """One acceptance criterion. At most one of `expression` (CEL) and `json_schema` is set; neither: judged."""

    id: str
    text: str
    required: bool
    expression: str | None = None
    json_schema: JsonValue = None


@dataclass(frozen=True, slots=True)
class CriterionResult:
    """What was decided of one criterion, why, and by whom."""

    criterion: Criterion
    verdict: Verdict
    rationale: str
    evidence: tuple[str, ...]
    decided_by: str


@dataclass(frozen=True, slots=True)
class JobNotice:
    """What the owner should know and do next. `code` is None while an execution still waits."""

    code: ExecutionOutcome | None
    message: str
    retryable: bool
    failed_criteria: tuple[CriterionResult, ...] = ()


def criteria(stored: Any) -> tuple[Criterion, ...]:
    """Criteria as they were stored."""
    return tuple(Criterion(**item) for item in stored)


def results(stored: Any) -> tuple[CriterionResult, ...]:
    """Criterion results as they were stored."""
    return tuple(
        CriterionResult(
            criterion=Criterion(**item["criterion"]),
            verdict=Verdict(item["verdict"]),
            rationale=item["rationale"],
            evidence=tuple(item["evidence"]),
            decided_by=item["decided_by"],
        )
        for item in stored
    )


def notice(stored: Any) -> JobNotice | None:
    """A notice as it was stored."""
    if stored is None:
        return None
    return JobNotice(
        code=ExecutionOutcome(stored["code"]) if stored["code"] else None,
        message=stored["message"],
        retryable=stored["retryable"],
        failed_criteria=results(stored["failed_criteria"]),
    )


Parts: TypeAlias = frozenset[str]
"""What of records is read, by the names of their fields: thousands are on a page, and some of the fields are large."""


class Partly:
    """A record that has the parts which it was read with: any other raises AttributeError."""

    __slots__ = ()

    def read_parts(self) -> dict[str, Any]:
        """The parts that it has, by their names."""
        return {part: getattr(self, part) for part in parts_of(self.__class__) if hasattr(self, part)}

    def __eq__(self, other: object) -> bool:
        """Whether both were read with the same parts, and say the same."""
        if not isinstance(other, Partly) or other.__class__ is not self.__class__:
            return NotImplemented
        return self.read_parts() == other.read_parts()

    def __hash__(self) -> int:
        """Of what was read, where all of it has one."""
        return hash(tuple(self.read_parts().items()))

    def __repr__(self) -> str:
        """Show what was read."""
        parts = ", ".join(f"{part}={value!r}" for part, value in self.read_parts().items())
        return f"{self.__class__.__name__}({parts})"


def parts_of(record: type[Partly]) -> tuple[str, ...]:
    """All the parts that a record may have."""
    return tuple(part.name for part in fields(cast("Any", record)))


@dataclass_transform(frozen_default=True)
def _unchanging(record: type[R]) -> type[R]:
    """A dataclass that the type checkers keep from being changed: to keep it so at run time doubles what it takes."""
    return dataclass(slots=True, repr=False, eq=False)(record)


@_unchanging
class Job(Partly):
    """A job as it stands. What most lists do not show is made of what is stored when it is asked for."""

    id: str
    revision: int
    title: str
    description: str
    input: JsonValue
    stored_criteria: JsonValue
    status: JobStatus
    result: JsonValue
    stored_notice: JsonValue
    agent_id: str | None
    owner: Actor
    latest_execution_id: str | None
    created_at: datetime
    updated_at: datetime
    execution_count: int

    @property
    def acceptance_criteria(self) -> tuple[Criterion, ...]:
        """What an answer must meet."""
        return criteria(self.stored_criteria)

    @property
    def notice(self) -> JobNotice | None:
        """What to know and do after an execution that was not accepted."""
        return notice(self.stored_notice)


WHOLE_JOB = Parts(parts_of(Job))


@dataclass(frozen=True, slots=True)
class PinnedJob:
    """The job as an execution saw it at its start. Edits since do not reach the execution."""

    id: str
    title: str
    description: str
    input: JsonValue
    acceptance_criteria: tuple[Criterion, ...]


@dataclass(frozen=True, slots=True)
class PinnedAgent:
    """The agent as an execution saw it at its start, without its credential."""

    id: str
    name: str
    executor: str
    endpoint_url: str
    input_schema: JsonValue
    output_schema: JsonValue
    input_mapping: Mapping[str, str] | None
    timeout_seconds: float
    idempotent: bool
    validator: str | None = None


@_unchanging
class Execution(Partly):
    """One press of Execute: what clients see of it."""

    id: str
    job_id: str
    number: int
    job_revision: int
    agent_id: str
    state: ExecutionState
    outcome: ExecutionOutcome | None
    requested_by: Actor
    idempotency_key: str
    kept_answer: JsonValue
    """Unread where it is StoredJson; see `answer`."""
    latest_validation_id: str | None
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    next_retry_at: datetime | None

    @property
    def answer(self) -> JsonValue:
        """What the agent answered."""
        return read(self.kept_answer)


WHOLE_EXECUTION = Parts(parts_of(Execution))


@dataclass(frozen=True, slots=True)
class Run:
    """Everything an execution needs to go on from its last durable step: its pins and its place."""

    execution: Execution
    runner: str
    fence: int
    takeovers: int
    job: PinnedJob
    agent: PinnedAgent
    previous_execution_id: str | None
    status_before: JobStatus
    result_before: JsonValue
    request_digest: str | None
    agent_tries: int
    agent_responded: bool
    answered: bool
    validation_round: int
    validation_seed: str = field(repr=False)
    validator_calls: int
    validator_tries: int
    validation_deadline: datetime | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    earlier_cost_usd: float | None
    trace_id: str | None
    callee: Agent | None = field(default=None, repr=False)
    """Its agent as it was when the execution was made, where that was here and just now: it may have changed since."""


@dataclass(frozen=True, slots=True)
class LiveExecutions:
    """How many live executions of a runner stand in a state, and since when the oldest of them was asked for."""

    runner: str
    state: ExecutionState
    count: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class Validation:
    """One run of the validator over one answer. Costs are US dollars, durations milliseconds.

    `votes`, `prompt` (its version and digest) and `system_fingerprint` say how a model came to it, where one judged.
    """

    id: str
    execution_id: str
    number: int
    validator: str
    model: str | None
    votes: int | None
    prompt: str | None
    system_fingerprint: str | None
    verdict: Verdict
    criteria: tuple[CriterionResult, ...]
    feedback: str
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    duration_ms: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class LogEntry:
    """What a caller says when it appends to a job's log; the rest is assigned by the database."""

    type: JobLogType
    message: str
    actor: Actor = SYSTEM
    status: JobLogStatus = JobLogStatus.OK
    execution_id: str | None = None
    attempt: int | None = None
    payload: JsonValue = None
    from_status: JobStatus | None = None
    to_status: JobStatus | None = None
    http_status: int | None = None
    duration_ms: int | None = None
    error_code: str | None = None
    trace_id: str | None = None
    answers: str | None = None
    """The id of the request entry that this response entry closes."""
    payload_state: PayloadState = PayloadState.STORED
    payload_bytes: int = 0


@_unchanging
class JobLog(Partly):
    """One entry of a job's log. `seq` rises in commit order within a job; cursors are made of it."""

    id: str
    seq: int
    job_id: str
    execution_id: str | None
    attempt: int | None
    timestamp: datetime
    type: JobLogType
    status: JobLogStatus
    message: str
    actor: Actor
    kept_payload: JsonValue
    """Unread where it is StoredJson; see `payload`."""
    payload_state: PayloadState
    payload_bytes: int
    from_status: JobStatus | None
    to_status: JobStatus | None
    http_status: int | None
    duration_ms: int | None
    error_code: str | None
    trace_id: str | None

    @property
    def payload(self) -> JsonValue:
        """What was sent or received, or what changed."""
        return read(self.kept_payload)


WHOLE_ENTRY = Parts(parts_of(JobLog))
WITHOUT_PAYLOAD = WHOLE_ENTRY - {"kept_payload"}


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for: the first or last `limit` rows, strictly between two positions.

    A position is the tuple of the list's sort key; the caller encodes and decodes it.
    """

    limit: int
    backward: bool = False
    after: tuple[str | int | datetime, ...] | None = None
    before: tuple[str | int | datetime, ...] | None = None


@dataclass(frozen=True, slots=True)
class PageOf(Generic[R]):
    """The rows of one page in the list's order, and whether there are more on either side."""

    rows: tuple[R, ...]
    has_next: bool
    has_previous: bool


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs; every given part must hold."""

    statuses: tuple[JobStatus, ...] | None = None
    agent_ids: tuple[str, ...] | None = None
    owner_ids: tuple[str, ...] | None = None
    outcomes: tuple[ExecutionOutcome, ...] | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    updated_after: datetime | None = None
    in_execution_longer_than_seconds: float | None = None
    search: str | None = None


@dataclass(frozen=True, slots=True)
class JobLogFilter:
    """Which log entries; every given part must hold."""

    types: tuple[JobLogType, ...] | None = None
    statuses: tuple[JobLogStatus, ...] | None = None
    execution_id: str | None = None
    after: datetime | None = None
    before: datetime | None = None
