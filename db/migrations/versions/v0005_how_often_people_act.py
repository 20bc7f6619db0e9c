"""How often people act: what the rate limit of mutations is counted in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_COMMENT = "seconds since 1970 by the database's clock: when all that the person was granted is earned"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "mutation_rates",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("earned_at", sa.Float(), nullable=False, comment=_COMMENT),
        sa.Column("granted", sa.Integer(), nullable=False, comment="how many the last time"),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_mutation_rates")),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("mutation_rates")
