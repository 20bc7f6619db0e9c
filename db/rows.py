"""Rows to records and back, once for every table: the only place that knows both forms."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from db.records import (
    Actor,
    Agent,
    AgentChange,
    Criterion,
    CriterionResult,
    Execution,
    ExecutionOutcome,
    ExecutionState,
    Job,
    JobLog,
    JobLogStatus,
    JobLogType,
    JobNotice,
    JobStatus,
    Partly,
    PayloadState,
    PinnedAgent,
    PinnedJob,
    Role,
    Run,
    StoredJson,
    Validation,
    Verdict,
    criteria,
    parts_of,
    results,
)
from db.types import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Row

    from db.records import JsonValue, Parts


P = TypeVar("P", bound=Partly)

# Looking a member up takes a tenth of the time that calling its class does.
_MOVES: Mapping[str | None, JobStatus | None] = {None: None, **{member.value: member for member in JobStatus}}
_EXECUTION_STATES = {member.value: member for member in ExecutionState}
_OUTCOMES: Mapping[str | None, ExecutionOutcome | None] = {
    None: None,
    **{member.value: member for member in ExecutionOutcome},
}


@lru_cache(1_000)
def actor(id_: str | None, name: str, role: str | None) -> Actor:
    """An actor from its three columns."""
    return Actor(id=id_, display_name=name, role=Role(role) if role else None)


def actor_columns(prefix: str, who: Actor) -> dict[str, str | None]:
    """An actor as its three columns."""
    return {f"{prefix}_id": who.id, f"{prefix}_name": who.display_name, f"{prefix}_role": who.role}


def _members(record: Any) -> dict[str, Any]:
    """A record's fields by their names; dataclasses.asdict would copy all that is within them."""
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def criteria_json(criteria: Sequence[Criterion]) -> JsonValue:
    """Criteria as they are stored."""
    return [_members(criterion) for criterion in criteria]


def results_json(results: Sequence[CriterionResult]) -> JsonValue:
    """Criterion results as they are stored."""
    return [_members(result) | {"criterion": _members(result.criterion)} for result in results]


def notice_json(notice: JobNotice | None) -> JsonValue:
    """A notice as it is stored."""
    if notice is None:
        return None
    return _members(notice) | {"failed_criteria": results_json(notice.failed_criteria)}


def agent_change(row: Row[Any]) -> AgentChange:
    """A change of an agent."""
    return AgentChange(
        agent_id=row.agent_id,
        number=row.number,
        timestamp=row.changed_at,
        actor=actor(row.actor_id, row.actor_name, row.actor_role),
        fields=tuple(row.fields),
    )


def agent(row: Row[Any]) -> Agent:
    """An agent's row."""
    return Agent(
        id=row.id,
        name=row.name,
        executor=row.executor,
        endpoint_url=row.endpoint_url,
        input_schema=row.input_schema,
        output_schema=row.output_schema,
        input_mapping=row.input_mapping,
        timeout_seconds=row.timeout_seconds,
        max_concurrent_executions=row.max_concurrent_executions,
        idempotent=row.idempotent,
        enabled=row.enabled,
        validator=row.validator,
        secret=row.secret,
        created_at=row.created_at,
        updated_at=row.updated_at,
        previous_secret=row.previous_secret,
        previous_secret_until=row.previous_secret_until,
    )


def execution(row: Row[Any]) -> Execution:
    """An execution's row, as clients see it."""
    return Execution(
        id=row.id,
        job_id=row.job_id,
        number=row.number,
        job_revision=row.job_revision,
        agent_id=row.agent_id,
        state=_EXECUTION_STATES[row.state],
        outcome=_OUTCOMES[row.outcome],
        requested_by=actor(row.requested_by_id, row.requested_by_name, row.requested_by_role),
        idempotency_key=row.idempotency_key,
        kept_answer=row.answer,
        latest_validation_id=row.latest_validation_id,
        queued_at=row.queued_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        next_retry_at=row.next_retry_at,
    )


def pinned_job_json(pinned: PinnedJob) -> JsonValue:
    """A pinned job as it is stored."""
    return _members(pinned) | {"acceptance_criteria": criteria_json(pinned.acceptance_criteria)}


def pinned_agent_json(pinned: PinnedAgent) -> JsonValue:
    """A pinned agent as it is stored."""
    return _members(pinned)


def run(row: Row[Any]) -> Run:
    """An execution's row, with all that running it needs."""
    pinned_job: dict[str, Any] = row.pinned_job | {
        "acceptance_criteria": criteria(row.pinned_job["acceptance_criteria"])
    }
    return Run(
        execution=execution(row),
        runner=row.runner,
        fence=row.fence,
        takeovers=row.takeovers,
        job=PinnedJob(**pinned_job),
        agent=PinnedAgent(**row.pinned_agent),
        previous_execution_id=row.previous_execution_id,
        status_before=JobStatus(row.status_before),
        result_before=row.result_before,
        request_digest=row.request_digest,
        agent_tries=row.agent_tries,
        agent_responded=row.agent_responded,
        answered=row.answered,
        validation_round=row.validation_round,
        validation_seed=row.validation_seed,
        validator_calls=row.validator_calls,
        validator_tries=row.validator_tries,
        validation_deadline=row.validation_deadline,
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        cost_usd=row.cost_usd,
        earlier_cost_usd=row.earlier_cost_usd,
        trace_id=row.trace_id,
    )


def validation(row: Row[Any]) -> Validation:
    """A validation's row."""
    return Validation(
        id=row.id,
        execution_id=row.execution_id,
        number=row.number,
        validator=row.validator,
        model=row.model,
        votes=row.votes,
        prompt=row.prompt,
        system_fingerprint=row.system_fingerprint,
        verdict=Verdict(row.verdict),
        criteria=results(row.criteria),
        feedback=row.feedback,
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        cost_usd=row.cost_usd,
        duration_ms=row.duration_ms,
        created_at=row.created_at,
    )


# The columns of a record's parts, and what is made of them; of the others, the one that is called like the part.
_MADE_OF: Mapping[type[Partly], Mapping[str, tuple[tuple[str, ...], str]]] = {
    Execution: {
        "state": (("state",), "EXECUTION_STATES[{}]"),
        "outcome": (("outcome",), "OUTCOMES[{}]"),
        "requested_by": (("requested_by_id", "requested_by_name", "requested_by_role"), "actor({}, {}, {})"),
        "kept_answer": (("answer",), "None if {0} is None else StoredJson({0})"),
    },
    Job: {
        "input": (("input",), "read_json({})"),
        "stored_criteria": (("acceptance_criteria",), "read_json({})"),
        "status": (("status",), "JOB_STATUSES[{}]"),
        "result": (("result",), "read_json({})"),
        "stored_notice": (("notice",), "read_json({})"),
        "owner": (("owner_id", "owner_name", "owner_role"), "actor({}, {}, {})"),
    },
    JobLog: {
        "type": (("type",), "LOG_TYPES[{}]"),
        "status": (("status",), "LOG_STATUSES[{}]"),
        "actor": (("actor_id", "actor_name", "actor_role"), "actor({}, {}, {})"),
        "kept_payload": (("payload",), "None if {0} is None else StoredJson({0})"),
        "payload_state": (("payload_state",), "PAYLOAD_STATES[{}]"),
        "from_status": (("from_status",), "MOVES[{}]"),
        "to_status": (("to_status",), "MOVES[{}]"),
    },
}
# Looking a member up takes a tenth of the time that calling its class does.
_KNOWN: Mapping[str, object] = {
    "EXECUTION_STATES": _EXECUTION_STATES,
    "JOB_STATUSES": {member.value: member for member in JobStatus},
    "LOG_STATUSES": {member.value: member for member in JobLogStatus},
    "LOG_TYPES": {member.value: member for member in JobLogType},
    "MOVES": _MOVES,
    "OUTCOMES": _OUTCOMES,
    "PAYLOAD_STATES": {member.value: member for member in PayloadState},
    "StoredJson": StoredJson,
    "actor": actor,
    "new": object.__new__,
    "read_json": read_json,
}
# Clients choose what is read, and there are more choices than anybody makes.
_KEPT_READERS = 500


def columns(record: type[Partly], parts: Parts) -> list[str]:
    """What these parts of a record are read from, by place."""
    return [column for _, columns, _ in _places(record, parts) for column in columns]


def _places(record: type[Partly], parts: Parts) -> list[tuple[str, tuple[str, ...], str]]:
    made_of = _MADE_OF[record]
    return [(part, *made_of.get(part, ((part,), "{}"))) for part in parts_of(record) if part in parts]


def reader(record: type[P], parts: Parts) -> Callable[[Sequence[Any]], P]:
    """What makes a record of a row that has the `columns` of these parts."""
    # To mypy, a class is not hashable that says how its instances are hashed.
    found: Callable[[Sequence[Any]], P] = _reader(cast("Any", record), parts)
    return found


@lru_cache(_KEPT_READERS)
def _reader(record: type[Partly], parts: Parts) -> Callable[[Sequence[Any]], Any]:
    """It is written for these parts, as there are thousands to read at a time: to look up for each what is to be done
    would take longer than doing it.
    """
    lines = ["def read(row):", f"    {', '.join(columns(record, parts))}, = row", "    found = new(record)"]
    lines += [f"    found.{part} = {made.format(*columns)}" for part, columns, made in _places(record, parts)]
    lines += ["    return found"]
    known: dict[str, Any] = {**_KNOWN, "record": record}
    exec("\n".join(lines), known)  # noqa: S102  (names of ours)
    read: Callable[[Sequence[Any]], Any] = known["read"]
    return read
