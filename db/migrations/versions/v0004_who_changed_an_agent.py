"""Who changed an agent, when, and which of its fields."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.types import CanonicalJson, Id, UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "agent_changes",
        sa.Column("agent_id", Id, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("changed_at", UtcDateTime, nullable=False),
        sa.Column("actor_id", sa.Text(), nullable=True),
        sa.Column("actor_name", sa.Text(), nullable=False),
        sa.Column("actor_role", sa.String(length=16), nullable=True),
        sa.Column("fields", CanonicalJson, nullable=False, comment="names, never values: one of them is a credential"),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_agent_changes_agent_id")),
        sa.PrimaryKeyConstraint("agent_id", "number", name=op.f("pk_agent_changes")),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("agent_changes")
