"""The tables of the loop."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.types import BigId, ByteText, CanonicalJson, Id, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "agents",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("executor", sa.Text(), nullable=False),
        sa.Column("endpoint_url", sa.Text(), nullable=False),
        sa.Column("input_schema", CanonicalJson, nullable=True),
        sa.Column("output_schema", CanonicalJson, nullable=True),
        sa.Column("input_mapping", CanonicalJson, nullable=True),
        sa.Column("timeout_seconds", sa.Float(), nullable=False),
        sa.Column("max_concurrent_executions", sa.Integer(), nullable=False),
        sa.Column("idempotent", sa.Boolean(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=True, comment="encrypted; the credential itself is never stored"),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agents")),
    )
    op.create_index("ix_agents_page", "agents", ["created_at", "id"])

    op.create_table(
        "agent_slots",
        sa.Column("agent_id", Id, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("execution_id", Id, nullable=True),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_agent_slots_agent_id")),
        sa.PrimaryKeyConstraint("agent_id", "number", name=op.f("pk_agent_slots")),
        comment="One row for each call that may be under way to an agent at once: taking one is lock-free of others",
    )
    op.create_index("uq_agent_slots_execution_id", "agent_slots", ["execution_id"], unique=True)

    op.create_table(
        "jobs",
        sa.Column("id", Id, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("input", CanonicalJson, nullable=False),
        sa.Column("acceptance_criteria", CanonicalJson, nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("status_since", UtcDateTime, nullable=False),
        sa.Column("result", CanonicalJson, nullable=True),
        sa.Column("notice", CanonicalJson, nullable=True),
        sa.Column("agent_id", Id, nullable=True),
        sa.Column("owner_id", ByteText, nullable=False),
        sa.Column("owner_name", sa.Text(), nullable=False),
        sa.Column("owner_role", sa.String(length=16), nullable=True),
        sa.Column("execution_count", sa.Integer(), nullable=False),
        sa.Column("latest_execution_id", Id, nullable=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.CheckConstraint("(status = 'completed') = (result IS NOT NULL)", name=op.f("ck_jobs_completed_has_result")),
        sa.CheckConstraint(
            "status IN ('pending', 'assigned', 'in_execution', 'resubmission_required', 'completed')",
            name=op.f("ck_jobs_status"),
        ),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_jobs_agent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index("ix_jobs_agent_created", "jobs", ["agent_id", "created_at", "id"])
    op.create_index("ix_jobs_created", "jobs", ["created_at", "id"])
    op.create_index("ix_jobs_owner_created", "jobs", ["owner_id", "created_at", "id"])
    op.create_index("ix_jobs_owner_updated", "jobs", ["owner_id", "updated_at", "id"])
    op.create_index("ix_jobs_status_created", "jobs", ["status", "created_at", "id"])
    op.create_index("ix_jobs_status_since", "jobs", ["status", "status_since"])
    op.create_index("ix_jobs_updated", "jobs", ["updated_at", "id"])

    op.create_table(
        "executions",
        sa.Column("id", Id, nullable=False),
        sa.Column("job_id", Id, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("outcome", sa.String(length=32), nullable=True),
        sa.Column("requested_by_id", sa.Text(), nullable=True),
        sa.Column("requested_by_name", sa.Text(), nullable=False),
        sa.Column("requested_by_role", sa.String(length=16), nullable=True),
        sa.Column("trace_id", sa.String(length=32), nullable=True),
        sa.Column("runner", sa.String(length=32), nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column(
            "claimable_at",
            UtcDateTime,
            nullable=True,
            comment="when a process may claim it: the lease's expiry while there is an owner, else when it is due",
        ),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("takeovers", sa.Integer(), nullable=False),
        sa.Column("job_revision", sa.Integer(), nullable=False),
        sa.Column("agent_id", Id, nullable=False),
        sa.Column("pinned_job", CanonicalJson, nullable=False),
        sa.Column("pinned_agent", CanonicalJson, nullable=False),
        sa.Column("previous_execution_id", Id, nullable=True),
        sa.Column("status_before", sa.String(length=32), nullable=False),
        sa.Column("result_before", CanonicalJson, nullable=True),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("request_digest", sa.String(length=64), nullable=True),
        sa.Column("agent_tries", sa.Integer(), nullable=False),
        sa.Column(
            "agent_responded", sa.Boolean(), nullable=False, comment="the last request sent had a complete response"
        ),
        sa.Column("answered", sa.Boolean(), nullable=False),
        sa.Column("answer", CanonicalJson, nullable=True),
        sa.Column("validation_round", sa.Integer(), nullable=False),
        sa.Column("validation_seed", sa.Text(), nullable=False),
        sa.Column("validator_calls", sa.Integer(), nullable=False, comment="requests logged, over all rounds"),
        sa.Column("validator_tries", sa.Integer(), nullable=False, comment="failed in a row, in this round"),
        sa.Column("validation_deadline", UtcDateTime, nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("completion_tokens", sa.Integer(), nullable=True),
        sa.Column("cost_usd", sa.Float(), nullable=True),
        sa.Column("latest_validation_id", Id, nullable=True),
        sa.Column("queued_at", UtcDateTime, nullable=False),
        sa.Column("started_at", UtcDateTime, nullable=True),
        sa.Column("finished_at", UtcDateTime, nullable=True),
        sa.Column("next_retry_at", UtcDateTime, nullable=True),
        sa.CheckConstraint(
            "(state = 'finished') = (finished_at IS NOT NULL)", name=op.f("ck_executions_finished_has_time")
        ),
        sa.CheckConstraint(
            "(state = 'finished') = (outcome IS NOT NULL)", name=op.f("ck_executions_finished_has_outcome")
        ),
        sa.CheckConstraint(
            "(state = 'waiting_retry') = (next_retry_at IS NOT NULL)", name=op.f("ck_executions_waiting_has_time")
        ),
        sa.CheckConstraint("outcome <> 'accepted' OR answered", name=op.f("ck_executions_accepted_was_answered")),
        sa.CheckConstraint(
            "outcome IN ('accepted', 'rejected', 'undecided', 'output_invalid', 'input_invalid', 'agent_failed', 'agent_outcome_unknown', 'validator_unavailable', 'cancelled', 'superseded')",
            name=op.f("ck_executions_outcome"),
        ),
        sa.CheckConstraint(
            "state IN ('queued', 'calling_agent', 'validating', 'waiting_retry', 'finished')",
            name=op.f("ck_executions_state"),
        ),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_executions_agent_id")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_executions_job_id")),
        sa.ForeignKeyConstraint(
            ["previous_execution_id"], ["executions.id"], name=op.f("fk_executions_previous_execution_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_executions")),
        sa.UniqueConstraint("job_id", "number", name=op.f("uq_executions_job_id")),
    )
    op.create_index("ix_executions_agent", "executions", ["agent_id", "queued_at"])
    op.create_index(
        "ix_executions_claimable",
        "executions",
        ["claimable_at"],
        postgresql_where=sa.text("state <> 'finished'"),
        sqlite_where=sa.text("state <> 'finished'"),
    )
    op.create_index(
        "ix_executions_owner",
        "executions",
        ["lease_owner"],
        postgresql_where=sa.text("state <> 'finished'"),
        sqlite_where=sa.text("state <> 'finished'"),
    )
    op.create_index(
        "uq_executions_live_job",
        "executions",
        ["job_id"],
        unique=True,
        postgresql_where=sa.text("state <> 'finished'"),
        sqlite_where=sa.text("state <> 'finished'"),
    )

    op.create_table(
        "idempotency_keys",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("mutation", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_digest", sa.String(length=64), nullable=False),
        sa.Column("job_id", Id, nullable=False),
        sa.Column("execution_id", Id, nullable=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.ForeignKeyConstraint(["execution_id"], ["executions.id"], name=op.f("fk_idempotency_keys_execution_id")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_idempotency_keys_job_id")),
        sa.PrimaryKeyConstraint("subject", "mutation", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index("ix_idempotency_keys_age", "idempotency_keys", ["created_at"])

    op.create_table(
        "job_logs",
        sa.Column("seq", BigId, sa.Identity(always=False), nullable=False),
        sa.Column("id", Id, nullable=False),
        sa.Column("job_id", Id, nullable=False),
        sa.Column("owner_id", ByteText, nullable=False),
        sa.Column("execution_id", Id, nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=True),
        sa.Column("timestamp", UtcDateTime, nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Text(), nullable=True),
        sa.Column("actor_name", sa.Text(), nullable=False),
        sa.Column("actor_role", sa.String(length=16), nullable=True),
        sa.Column("payload", CanonicalJson, nullable=True),
        sa.Column("payload_state", sa.String(length=16), nullable=False),
        sa.Column("payload_bytes", sa.Integer(), nullable=False),
        sa.Column("from_status", sa.String(length=32), nullable=True),
        sa.Column("to_status", sa.String(length=32), nullable=True),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("trace_id", sa.String(length=32), nullable=True),
        sa.Column("answers", Id, nullable=True, comment="the request entry that this response entry closes"),
        sa.CheckConstraint(
            "(type = 'status_change') = (to_status IS NOT NULL)", name=op.f("ck_job_logs_status_change_has_status")
        ),
        sa.CheckConstraint(
            "(type IN ('agent_response', 'validator_response')) = (answers IS NOT NULL)",
            name=op.f("ck_job_logs_response_answers"),
        ),
        sa.CheckConstraint(
            "payload_state IN ('stored', 'truncated', 'purged')", name=op.f("ck_job_logs_payload_state")
        ),
        sa.CheckConstraint("status IN ('ok', 'error', 'timeout', 'unknown')", name=op.f("ck_job_logs_status")),
        sa.CheckConstraint(
            "type IN ('agent_request', 'agent_response', 'validator_request', 'validator_response', 'status_change', 'job_edit', 'admin_action')",
            name=op.f("ck_job_logs_type"),
        ),
        sa.ForeignKeyConstraint(["answers"], ["job_logs.id"], name=op.f("fk_job_logs_answers")),
        sa.ForeignKeyConstraint(["execution_id"], ["executions.id"], name=op.f("fk_job_logs_execution_id")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_logs_job_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_job_logs")),
        sa.UniqueConstraint("id", name=op.f("uq_job_logs_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_job_logs_changes",
        "job_logs",
        ["owner_id", "seq"],
        postgresql_where=sa.text("type = 'status_change'"),
        sqlite_where=sa.text("type = 'status_change'"),
    )
    op.create_index("ix_job_logs_execution", "job_logs", ["execution_id", "seq"])
    op.create_index("ix_job_logs_job", "job_logs", ["job_id", "seq"])
    op.create_index("ix_job_logs_time", "job_logs", ["timestamp", "seq"])
    op.create_index("uq_job_logs_answers", "job_logs", ["answers"], unique=True)

    op.create_table(
        "validations",
        sa.Column("id", Id, nullable=False),
        sa.Column("execution_id", Id, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("validator", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("criteria", CanonicalJson, nullable=False),
        sa.Column("feedback", sa.Text(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("completion_tokens", sa.Integer(), nullable=True),
        sa.Column("cost_usd", sa.Float(), nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.CheckConstraint("verdict IN ('pass', 'fail', 'unsure')", name=op.f("ck_validations_verdict")),
        sa.ForeignKeyConstraint(["execution_id"], ["executions.id"], name=op.f("fk_validations_execution_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_validations")),
        sa.UniqueConstraint("execution_id", "number", name=op.f("uq_validations_execution_id")),
    )
    op.create_table(
        "validator_replies",
        sa.Column("execution_id", Id, nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("call", sa.Integer(), nullable=False),
        sa.Column("request_digest", sa.String(length=64), nullable=False),
        sa.Column("reply", CanonicalJson, nullable=False),
        sa.ForeignKeyConstraint(["execution_id"], ["executions.id"], name=op.f("fk_validator_replies_execution_id")),
        sa.PrimaryKeyConstraint("execution_id", "round", "call", name=op.f("pk_validator_replies")),
        comment="Whole replies of a validation under way, so that a crash asks nobody twice; emptied when it settles",
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("validator_replies")
    op.drop_table("validations")
    op.drop_index("uq_job_logs_answers", table_name="job_logs")
    op.drop_index("ix_job_logs_time", table_name="job_logs")
    op.drop_index("ix_job_logs_job", table_name="job_logs")
    op.drop_index("ix_job_logs_execution", table_name="job_logs")
    op.drop_index("ix_job_logs_changes", table_name="job_logs")

    op.drop_table("job_logs")
    op.drop_index("ix_idempotency_keys_age", table_name="idempotency_keys")

    op.drop_table("idempotency_keys")
    op.drop_index("uq_executions_live_job", table_name="executions")
    op.drop_index("ix_executions_owner", table_name="executions")
    op.drop_index("ix_executions_claimable", table_name="executions")
    op.drop_index("ix_executions_agent", table_name="executions")

    op.drop_table("executions")
    op.drop_index("ix_jobs_updated", table_name="jobs")
    op.drop_index("ix_jobs_status_since", table_name="jobs")
    op.drop_index("ix_jobs_status_created", table_name="jobs")
    op.drop_index("ix_jobs_owner_updated", table_name="jobs")
    op.drop_index("ix_jobs_owner_created", table_name="jobs")
    op.drop_index("ix_jobs_created", table_name="jobs")
    op.drop_index("ix_jobs_agent_created", table_name="jobs")

    op.drop_table("jobs")
    op.drop_index("uq_agent_slots_execution_id", table_name="agent_slots")

    op.drop_table("agent_slots")
    op.drop_index("ix_agents_page", table_name="agents")

    op.drop_table("agents")
