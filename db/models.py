"""The tables. What the database can hold true by itself, it does: see the constraints and partial indexes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from db.records import (
    ExecutionOutcome,
    ExecutionState,
    JobLogStatus,
    JobLogType,
    JobStatus,
    PayloadState,
    Verdict,
)
from db.types import BigId, ByteText, CanonicalJson, Id, UtcDateTime

if TYPE_CHECKING:
    from enum import StrEnum

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

LIVE = text("state <> 'finished'")


def one_of(column: str, members: type[StrEnum]) -> CheckConstraint:
    """The column holds a member's value: a plain text column that a later migration can widen."""
    values = ", ".join(f"'{member.value}'" for member in members)
    return CheckConstraint(f"{column} IN ({values})", name=column)


agents = Table(
    "agents",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("executor", Text, nullable=False),
    Column("endpoint_url", Text, nullable=False),
    Column("input_schema", CanonicalJson),
    Column("output_schema", CanonicalJson),
    Column("input_mapping", CanonicalJson),
    Column("timeout_seconds", Float, nullable=False),
    Column("max_concurrent_executions", Integer, nullable=False),
    Column("idempotent", Boolean, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("validator", Text, comment="judges its answers; null: the service's own"),
    Column("secret", Text, comment="encrypted; the credential itself is never stored"),
    Column("previous_secret", Text, comment="encrypted; signs besides the present one while it rotates"),
    Column("previous_secret_until", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("ix_agents_page", "created_at", "id"),
)

agent_slots = Table(
    "agent_slots",
    metadata,
    Column("agent_id", Id, ForeignKey("agents.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("execution_id", Id),
    Index("uq_agent_slots_execution_id", "execution_id", unique=True),
    # The first free one is the first here, however many there are and whatever is known of their number.
    Index(
        "ix_agent_slots_free",
        "agent_id",
        "number",
        postgresql_where=text("execution_id IS NULL"),
        sqlite_where=text("execution_id IS NULL"),
    ),
    comment="One row for each call that may be under way to an agent at once: taking one is lock-free of others",
)

agent_changes = Table(
    "agent_changes",
    metadata,
    Column("agent_id", Id, ForeignKey("agents.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("actor_id", Text),
    Column("actor_name", Text, nullable=False),
    Column("actor_role", String(16)),
    Column("fields", CanonicalJson, nullable=False, comment="names, never values: one of them is a credential"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("input", CanonicalJson, nullable=False),
    Column("acceptance_criteria", CanonicalJson, nullable=False),
    Column("status", String(32), nullable=False),
    Column("status_since", UtcDateTime, nullable=False),
    Column("result", CanonicalJson),
    Column("notice", CanonicalJson),
    Column("agent_id", Id, ForeignKey("agents.id")),
    Column("owner_id", ByteText, nullable=False),
    Column("owner_name", Text, nullable=False),
    Column("owner_role", String(16)),
    Column("execution_count", Integer, nullable=False),
    Column("latest_execution_id", Id),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    one_of("status", JobStatus),
    CheckConstraint("(status = 'completed') = (result IS NOT NULL)", name="completed_has_result"),
    Index("ix_jobs_created", "created_at", "id"),
    Index("ix_jobs_updated", "updated_at", "id"),
    Index("ix_jobs_owner_created", "owner_id", "created_at", "id"),
    Index("ix_jobs_owner_updated", "owner_id", "updated_at", "id"),
    Index("ix_jobs_status_created", "status", "created_at", "id"),
    Index("ix_jobs_status_since", "status", "status_since"),
    Index("ix_jobs_agent_created", "agent_id", "created_at", "id"),
)

job_counts = Table(
    "job_counts",
    metadata,
    Column("owner_id", ByteText, primary_key=True, comment="empty: everybody's together"),
    Column("status", String(32), primary_key=True),
    Column("jobs", BigId, nullable=False),
)

job_count_changes = Table(
    "job_count_changes",
    metadata,
    Column("seq", BigId, Identity(), primary_key=True),
    Column("owner_id", ByteText, nullable=False),
    Column("status", String(32), nullable=False),
    Column("change", Integer, nullable=False),
    comment="What has not been added to job_counts yet; written by triggers, so that nobody waits for a counter",
)

executions = Table(
    "executions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("job_id", Id, ForeignKey("jobs.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", String(32), nullable=False),
    Column("outcome", String(32)),
    Column("requested_by_id", Text),
    Column("requested_by_name", Text, nullable=False),
    Column("requested_by_role", String(16)),
    Column("trace_id", String(32)),
    # Who runs it: expiry only permits take-over, the fence alone decides writes.
    Column("runner", String(32), nullable=False),
    Column("lease_owner", Text),
    Column(
        "claimable_at",
        UtcDateTime,
        comment="when a process may claim it: the lease's expiry while there is an owner, else when it is due",
    ),
    Column("fence", Integer, nullable=False),
    Column("takeovers", Integer, nullable=False),
    # What it pins.
    Column("job_revision", Integer, nullable=False),
    Column("agent_id", Id, ForeignKey("agents.id"), nullable=False),
    Column("pinned_job", CanonicalJson, nullable=False),
    Column("pinned_agent", CanonicalJson, nullable=False),
    Column("previous_execution_id", Id, ForeignKey("executions.id")),
    Column("status_before", String(32), nullable=False),
    Column("result_before", CanonicalJson),
    Column("idempotency_key", Text, nullable=False),
    # The agent's side.
    Column("request_digest", String(64)),
    Column("agent_tries", Integer, nullable=False),
    Column("agent_responded", Boolean, nullable=False, comment="the last request sent had a complete response"),
    Column("answered", Boolean, nullable=False),
    Column("answer", CanonicalJson),
    # The validator's side.
    Column("validation_round", Integer, nullable=False),
    Column("validation_seed", Text, nullable=False),
    Column("validator_calls", Integer, nullable=False, comment="requests logged, over all rounds"),
    Column("validator_tries", Integer, nullable=False, comment="failed in a row, in this round"),
    Column("validation_deadline", UtcDateTime),
    # Spent in this round, tries that brought no verdict included.
    Column("prompt_tokens", Integer),
    Column("completion_tokens", Integer),
    Column("cost_usd", Float),
    Column("earlier_cost_usd", Float, comment="spent in the rounds before"),
    Column("latest_validation_id", Id),
    Column("queued_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("next_retry_at", UtcDateTime),
    UniqueConstraint("job_id", "number"),
    one_of("state", ExecutionState),
    one_of("outcome", ExecutionOutcome),
    CheckConstraint("(state = 'finished') = (outcome IS NOT NULL)", name="finished_has_outcome"),
    CheckConstraint("(state = 'finished') = (finished_at IS NOT NULL)", name="finished_has_time"),
    CheckConstraint("(state = 'waiting_retry') = (next_retry_at IS NOT NULL)", name="waiting_has_time"),
    CheckConstraint("outcome <> 'accepted' OR answered", name="accepted_was_answered"),
    Index("uq_executions_live_job", "job_id", unique=True, postgresql_where=LIVE, sqlite_where=LIVE),
    Index("ix_executions_claimable", "claimable_at", postgresql_where=LIVE, sqlite_where=LIVE),
    Index("ix_executions_owner", "lease_owner", postgresql_where=LIVE, sqlite_where=LIVE),
    Index("ix_executions_agent", "agent_id", "queued_at"),
)

validations = Table(
    "validations",
    metadata,
    Column("id", Id, primary_key=True),
    Column("execution_id", Id, ForeignKey("executions.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("validator", Text, nullable=False),
    Column("model", Text),
    Column("votes", Integer),
    Column("prompt", Text),
    Column("system_fingerprint", Text),
    Column("verdict", String(16), nullable=False),
    Column("criteria", CanonicalJson, nullable=False),
    Column("feedback", Text, nullable=False),
    Column("prompt_tokens", Integer),
    Column("completion_tokens", Integer),
    Column("cost_usd", Float),
    Column("duration_ms", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("execution_id", "number"),
    one_of("verdict", Verdict),
)

validator_replies = Table(
    "validator_replies",
    metadata,
    Column("execution_id", Id, ForeignKey("executions.id"), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("call", Integer, primary_key=True),
    Column("request_digest", String(64), nullable=False),
    Column("reply", CanonicalJson, nullable=False),
    comment="Whole replies of a validation under way, so that a crash asks nobody twice; emptied when it settles",
)

job_logs = Table(
    "job_logs",
    metadata,
    # Taken while the job's row is locked: within a job it rises in commit order.
    Column("seq", BigId, Identity(), primary_key=True),
    Column("id", Id, nullable=False, unique=True),
    Column("job_id", Id, ForeignKey("jobs.id"), nullable=False),
    Column("owner_id", ByteText, nullable=False),
    Column("execution_id", Id, ForeignKey("executions.id")),
    Column("attempt", Integer),
    Column("timestamp", UtcDateTime, nullable=False),
    Column("type", String(32), nullable=False),
    Column("status", String(16), nullable=False),
    Column("message", Text, nullable=False),
    Column("actor_id", Text),
    Column("actor_name", Text, nullable=False),
    Column("actor_role", String(16)),
    Column("payload", CanonicalJson),
    Column("payload_state", String(16), nullable=False),
    Column("payload_bytes", Integer, nullable=False),
    Column("from_status", String(32)),
    Column("to_status", String(32)),
    Column("http_status", Integer),
    Column("duration_ms", Integer),
    Column("error_code", Text),
    Column("trace_id", String(32)),
    Column("answers", Id, ForeignKey("job_logs.id"), comment="the request entry that this response entry closes"),
    one_of("type", JobLogType),
    one_of("status", JobLogStatus),
    one_of("payload_state", PayloadState),
    CheckConstraint("(type = 'status_change') = (to_status IS NOT NULL)", name="status_change_has_status"),
    CheckConstraint(
        "(type IN ('agent_response', 'validator_response')) = (answers IS NOT NULL)", name="response_answers"
    ),
    Index("uq_job_logs_answers", "answers", unique=True),
    Index("ix_job_logs_job", "job_id", "seq"),
    Index("ix_job_logs_execution", "execution_id", "seq"),
    Index(
        "ix_job_logs_changes",
        "owner_id",
        "seq",
        postgresql_where=text("type = 'status_change'"),
        sqlite_where=text("type = 'status_change'"),
    ),
    Index("ix_job_logs_time", "timestamp", "seq"),
    sqlite_autoincrement=True,
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("mutation", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request_digest", String(64), nullable=False),
    Column("job_id", Id, ForeignKey("jobs.id"), nullable=False),
    Column("execution_id", Id, ForeignKey("executions.id")),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_idempotency_keys_age", "created_at"),
)

mutation_rates = Table(
    "mutation_rates",
    metadata,
    Column("subject", Text, primary_key=True),
    Column(
        "earned_at",
        Float,
        nullable=False,
        comment="seconds since 1970 by the database's clock: when all that the person was granted is earned",
    ),
    Column("granted", Integer, nullable=False, comment="how many the last time"),
)
