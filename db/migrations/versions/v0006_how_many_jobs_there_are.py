"""How many jobs there are, of each owner in each status: kept by the database itself, whoever writes.

A later migration that makes the table `jobs` anew (as batches on SQLite do) has to make the triggers anew too.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.types import BigId, ByteText

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_INSERT = "INSERT INTO job_count_changes (owner_id, status, change) VALUES"
_LEAVES = "(OLD.owner_id, OLD.status, -1)"
_COMES = "(NEW.owner_id, NEW.status, 1)"
_MOVES = "OLD.status <> NEW.status OR OLD.owner_id <> NEW.owner_id"

# Name, event, condition, what it adds.
_TRIGGERS = (
    ("jobs_counted_in", "INSERT", "", _COMES),
    ("jobs_counted_on", "UPDATE OF status, owner_id", f"WHEN ({_MOVES})", f"{_LEAVES}, {_COMES}"),
    ("jobs_counted_out", "DELETE", "", _LEAVES),
)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "job_counts",
        sa.Column("owner_id", ByteText, nullable=False, comment="empty: everybody's together"),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("jobs", BigId, nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "status", name=op.f("pk_job_counts")),
    )
    op.create_table(
        "job_count_changes",
        sa.Column("seq", BigId, sa.Identity(always=False), nullable=False),
        sa.Column("owner_id", ByteText, nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("change", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_job_count_changes")),
        comment="What has not been added to job_counts yet; written by triggers, so that nobody waits for a counter",
    )
    # Before the jobs are counted: on PostgreSQL this waits for those who write jobs, and keeps others waiting.
    if op.get_bind().dialect.name == "postgresql":
        _make_triggers_of_postgresql()
    else:
        for name, event, condition, values in _TRIGGERS:
            op.execute(f"CREATE TRIGGER {name} AFTER {event} ON jobs {condition} BEGIN {_INSERT} {values}; END")
    filled = "INSERT INTO job_counts (owner_id, status, jobs) SELECT"
    op.execute(f"{filled} owner_id, status, count(*) FROM jobs GROUP BY owner_id, status")
    op.execute(f"{filled} '', status, sum(jobs) FROM job_counts GROUP BY status")


def _make_triggers_of_postgresql() -> None:
    # It is emptied all the time, and read whole: what was deleted must not lie about.
    op.execute(
        "ALTER TABLE job_count_changes SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000)"
    )
    for name, event, condition, values in _TRIGGERS:
        # The path is that of the migration: whoever writes jobs under another one is counted too.
        op.execute(
            f"""
            CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT
            AS $$ BEGIN {_INSERT} {values}; RETURN NULL; END $$
            """
        )
        op.execute(f"CREATE TRIGGER {name} AFTER {event} ON jobs FOR EACH ROW {condition} EXECUTE FUNCTION {name}()")


def downgrade() -> None:
    """Take back."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    for name, *_ in _TRIGGERS:
        op.execute(f"DROP TRIGGER {name} ON jobs" if postgresql else f"DROP TRIGGER {name}")
        if postgresql:
            op.execute(f"DROP FUNCTION {name}()")
    op.drop_table("job_count_changes")
    op.drop_table("job_counts")
