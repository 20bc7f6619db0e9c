"""The four ports: what an executor, a validator, a runner and an event bus must be able to do.

Standard library only, and all that a plug-in needs to import. The values that a port is handed are described
structurally (Protocols of read-only attributes), so the service passes its own records without copying them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
T = TypeVar("T")


# ------------------------------------------------------------------------------------------ what ports are shown


class Criterion(Protocol):
    """One acceptance criterion; `expression` is CEL, `json_schema` JSON Schema 2020-12, neither: needs judgement."""

    @property
    def id(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def required(self) -> bool: ...
    @property
    def expression(self) -> str | None: ...
    @property
    def json_schema(self) -> JsonValue: ...


class Job(Protocol):
    """The job as the execution pinned it."""

    @property
    def id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def input(self) -> JsonValue: ...
    @property
    def acceptance_criteria(self) -> Sequence[Criterion]: ...


class Agent(Protocol):
    """The agent as the execution pinned it; its credential travels in `Delivery` alone."""

    @property
    def endpoint_url(self) -> str: ...
    @property
    def input_schema(self) -> JsonValue: ...
    @property
    def input_mapping(self) -> Mapping[str, str] | None: ...


@dataclass(frozen=True)
class FailedCriterion:
    """One criterion that the previous attempt did not meet, and why."""

    id: str
    text: str
    rationale: str
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class Previous:
    """The attempt before, once it was judged: what a re-submission tells the agent to mend."""

    answer: JsonValue
    feedback: str
    failed_criteria: tuple[FailedCriterion, ...]


# ------------------------------------------------------------------------------------------------------ executor


@dataclass(frozen=True)
class AgentRequest:
    """What is sent to an agent: where, and the JSON body. Equal jobs and pins give equal requests."""

    url: str
    body: JsonValue


@dataclass(frozen=True)
class Delivery:
    """How one try of a request is sent. `timeout_seconds` bounds the whole call, body included.

    While an agent's secret rotates, `previous_secret` is the one before: what is signed is signed with both.
    """

    idempotency_key: str
    timeout_seconds: float
    secret: str | None = field(default=None, repr=False)
    traceparent: str | None = None
    previous_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class AgentAnswer:
    """A complete answer that is strict JSON other than null, and the HTTP status that it came with.

    The service blanks the agent's own credentials in it before anything else sees it.
    """

    value: JsonValue
    http_status: int | None = None


class InputInvalidError(Exception):
    """The job's data cannot be put in the form that the agent wants; nothing was sent."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = tuple(errors)


class AgentTroubleKind(StrEnum):
    """What is known of a request that brought no usable answer."""

    NOT_SENT = "not_sent"
    """It provably never reached the agent's work: DNS, refused, TLS, 429, 503. Safe to send again."""
    FAILED = "failed"
    """The agent (or the way to it) answered with an error. Final."""
    UNKNOWN = "unknown"
    """It may have reached the agent, but no complete answer came: cut connection."""
    TIMEOUT = "timeout"
    """As UNKNOWN, because the time ran out."""
    ANSWER_INVALID = "answer_invalid"
    """A complete answer that is not strict JSON, or is null."""


class AgentError(Exception):
    """An agent call that brought no usable answer.

    `code` is a stable word for programs (`connection_refused`, `http_500` …), `message` one sentence for people,
    `payload` what came back, if anything, for the log; it never holds a credential.
    """

    def __init__(
        self,
        kind: AgentTroubleKind,
        code: str,
        message: str,
        *,
        http_status: int | None = None,
        retry_after_seconds: float | None = None,
        payload: JsonValue = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code
        self.message = message
        self.http_status = http_status
        self.retry_after_seconds = retry_after_seconds
        self.payload = payload


class Executor(Protocol):
    """Calls one kind of agent."""

    async def prepare(self, job: Job, agent: Agent, previous: Previous | None) -> AgentRequest:
        """Build the request. Pure: the same arguments give the same request, and nothing is sent.

        Raises InputInvalidError where the job's data does not fit.
        """
        ...

    async def send(self, request: AgentRequest, delivery: Delivery) -> AgentAnswer:
        """Send the request once and return the complete answer. Raises AgentError, never retries by itself."""
        ...


# ----------------------------------------------------------------------------------------------------- validator


class Verdict(StrEnum):
    """What a validator says of one criterion. In doubt, UNSURE."""

    PASS = "pass"  # noqa: S105  (a verdict, not a password)
    FAIL = "fail"
    UNSURE = "unsure"


@dataclass(frozen=True)
class Submission:
    """An answer and what it is judged against. `criteria` are those that this validator has to decide."""

    job: Job
    criteria: tuple[Criterion, ...]
    answer: JsonValue
    seed: str
    """Secret to the agent, the same each time this submission is validated: derive nonces from it."""


@dataclass(frozen=True)
class Finding:
    """What a validator found of one criterion: `evidence` are exact quotes, `rationale` one sentence."""

    criterion_id: str
    verdict: Verdict
    rationale: str
    evidence: tuple[str, ...]
    decided_by: str


@dataclass(frozen=True)
class Report:
    """A validator's findings, one for each criterion that it was given, in any order.

    `advice` is for the person when something could not be decided and they can do something about it.
    """

    findings: tuple[Finding, ...]
    model: str | None = None
    advice: str | None = None
    votes: int | None = None
    """How many judgements of a model they rest on."""
    prompt: str | None = None
    """Which words asked for them: a version and a digest."""
    system_fingerprint: str | None = None
    """What the service says of the machinery that its model ran on."""


@dataclass(frozen=True)
class Reply:
    """What a validator's back end sent, for the journal. Tokens are counts, the cost US dollars."""

    payload: JsonValue
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: float | None = None
    http_status: int | None = None


class ValidatorTroubleKind(StrEnum):
    """Why a validator has no verdict, which decides what happens next."""

    UNAVAILABLE = "unavailable"
    """429, 408, 409, 5xx, no connection: retried with back-off."""
    TIMEOUT = "timeout"
    """The answer was lost: retried with back-off."""
    CONFIG = "config"
    """401, 403, unknown model, no quota: an operator must mend it; retried slowly."""
    INVALID = "invalid"
    """The reply is no verdict: not JSON, wrong nonce or ids. The validator's own tries are spent."""
    TRUNCATED = "truncated"
    """The reply was cut off by its length. The validator's own tries are spent."""
    REFUSED = "refused"
    """The model refused or a content filter stopped it: a person must look."""
    BUDGET = "budget"
    """The call might cost more than the execution may: it was not made."""


class ValidatorError(Exception):
    """A validator has no verdict. `message` is one sentence that a person can act on."""

    def __init__(
        self,
        kind: ValidatorTroubleKind,
        message: str,
        *,
        code: str | None = None,
        http_status: int | None = None,
        request_id: str | None = None,
        retry_after_seconds: float | None = None,
        reply: Reply | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.code = code or kind.value
        self.http_status = http_status
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds
        self.reply = reply


class Ask(Protocol):
    """A validator's only way to the outside: journals the request, sends it, journals the reply."""

    async def __call__(
        self,
        request: JsonValue,
        send: Callable[[], Awaitable[Reply]],
        read: Callable[[Reply], T],
        *,
        at_most_usd: float | None = None,
    ) -> T:
        """Log and commit `request`, await `send()`, let `read` make sense of the reply, log that.

        The reply is committed with what comes next, another request or the verdict: do not wait in between.
        `send` and `read` raise ValidatorError; it is logged and passed on: a validator may ask something else then, or
        leave it at that. What it has not waited for when it ends is closed unheard, and nothing is sent any more.
        The n-th call of a validation is answered from the journal, without sending, where an earlier run of it got
        that far with an equal request.
        A call that may cost more (`at_most_usd`, where it is known) than the execution has left is not made:
        ValidatorError of kind BUDGET, which is logged nowhere and no call.
        """
        ...


class Validator(Protocol):
    """Decides criteria that need judgement."""

    @property
    def name(self) -> str:
        """What logs and results call it."""
        ...

    async def validate(self, submission: Submission, ask: Ask) -> Report:
        """Decide every criterion of the submission. Raises ValidatorError where there is no verdict."""
        ...


@runtime_checkable
class Priced(Protocol):
    """A validator that can say beforehand what it may cost. Not every one can."""

    def worst_case_usd(self, criteria: int) -> float | None:
        """The most that deciding so many criteria of any one answer may cost, in US dollars; None if unknown."""
        ...


# -------------------------------------------------------------------------------------------------------- runner


class Runner(Protocol):
    """Sees to it that executions get run."""

    @property
    def name(self) -> str:
        """Stored with each execution, so that every process knows whose it is."""
        ...

    @property
    def is_stopping(self) -> bool:
        """Whether this process is on its way out: what waits here for long is better asked for again elsewhere."""
        ...

    def submit(self, execution_id: str, reservation: Reservation | None = None, begun: object | None = None) -> None:
        """Take note of a committed execution; with the reservation whose lease it was committed under, if any.

        `begun` is the execution as it was committed: whoever runs it right here need not read it.
        """
        ...

    def reserve(self) -> Reservation | None:
        """Make room to run one execution right here, or None where this process has none or does not run any."""
        ...

    def interrupt(self, execution_id: str) -> None:
        """The execution was ended or changed from outside; stop working on it if this process does."""
        ...


# The fence of an execution that was committed under its first lease.
FIRST_FENCE = 1


@dataclass(frozen=True)
class Reservation:
    """Room for one execution in this process: the lease that its first transaction may take at once."""

    owner: str
    lease_seconds: float
    taken_at: float
    """When, on this process's monotonic clock: the lease begins no earlier."""
    release: Callable[[], None] = field(repr=False)
    """Give the room back unused."""


# ----------------------------------------------------------------------------------------------------- event bus


class Bell(Protocol):
    """One follower's place on the bus."""

    async def wait(self, timeout_seconds: float) -> bool:
        """Return True once rung since the last wait, False when the time has passed."""
        ...


class EventBus(Protocol):
    """Rings when a job's log has grown, or an execution has ended or waits.

    It may ring too often or, across processes, be late: the database has the truth.
    """

    def ring(self, ids: frozenset[str]) -> None:
        """Tell every follower of these jobs and executions, and those of everything. Never blocks, never fails."""
        ...

    def ring_all(self) -> None:
        """Ring every bell of this process."""
        ...

    def listen(self, id_: str | None) -> AbstractAsyncContextManager[Bell]:
        """Join the bus for one job or one execution, or for everything where `id_` is None."""
        ...
