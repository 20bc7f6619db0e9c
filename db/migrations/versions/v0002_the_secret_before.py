"""The secret before: an agent's secret rotates without a moment at which its receiver knows none of the two."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.types import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_COMMENT = "encrypted; signs besides the present one while it rotates"


def upgrade() -> None:
    """Apply."""
    op.add_column("agents", sa.Column("previous_secret", sa.Text(), nullable=True, comment=_COMMENT))
    op.add_column("agents", sa.Column("previous_secret_until", UtcDateTime, nullable=True))


def downgrade() -> None:
    """Take back."""
    op.drop_column("agents", "previous_secret_until")
    op.drop_column("agents", "previous_secret")
