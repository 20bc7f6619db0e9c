"""Who judges an agent's answers, by which words, in how many votes, and what an execution has spent before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "agents",
        sa.Column("validator", sa.Text(), nullable=True, comment="judges its answers; null: the service's own"),
    )
    op.add_column("validations", sa.Column("votes", sa.Integer(), nullable=True))
    op.add_column("validations", sa.Column("prompt", sa.Text(), nullable=True))
    op.add_column("validations", sa.Column("system_fingerprint", sa.Text(), nullable=True))
    op.add_column(
        "executions", sa.Column("earlier_cost_usd", sa.Float(), nullable=True, comment="spent in the rounds before")
    )


def downgrade() -> None:
    """Take back."""
    op.drop_column("executions", "earlier_cost_usd")
    op.drop_column("validations", "system_fingerprint")
    op.drop_column("validations", "prompt")
    op.drop_column("validations", "votes")
    op.drop_column("agents", "validator")
