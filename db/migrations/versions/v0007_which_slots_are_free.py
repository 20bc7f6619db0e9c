"""Which of an agent's slots are free, to be found without looking at the others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_FREE = sa.text("execution_id IS NULL")


def upgrade() -> None:
    """Apply."""
    op.create_index(
        "ix_agent_slots_free", "agent_slots", ["agent_id", "number"], postgresql_where=_FREE, sqlite_where=_FREE
    )


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_agent_slots_free", "agent_slots")
