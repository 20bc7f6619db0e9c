"""How often people act: one row a person, one statement for each time that they are granted something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import case, delete, literal, select
from sqlalchemy.dialects import postgresql, sqlite

from db.models import mutation_rates
from db.types import epoch

if TYPE_CHECKING:
    from db.session import Transaction


async def grant(
    tx: Transaction, subject: str, wanted: int, *, interval_seconds: float, burst: int
) -> tuple[int, float]:
    """Grant a person `wanted` actions, or one where so many are not left: how many; else 0, and the seconds to wait.

    An action is earned each interval, and at most `burst` are saved up. The row says when all that was granted will
    have been earned: that may lie at most a burst's time ahead (the generic cell rate algorithm).
    """
    present = epoch()
    earned_at = mutation_rates.c.earned_at
    base = case((earned_at > present, earned_at), else_=present)
    # A hundredth more, for sums of fractions are not exact.
    ahead = present + (burst + 0.01) * interval_seconds
    granted = case((base + wanted * interval_seconds <= ahead, wanted), else_=1)
    insert = postgresql.insert if tx.postgresql else sqlite.insert
    first = min(wanted, burst)
    statement = (
        insert(mutation_rates)
        .values(subject=subject, earned_at=present + first * interval_seconds, granted=literal(first))
        .on_conflict_do_update(
            index_elements=[mutation_rates.c.subject],
            set_={"earned_at": base + granted * interval_seconds, "granted": granted},
            where=base + interval_seconds <= ahead,
        )
        .returning(mutation_rates.c.granted)
    )
    found: int | None = (await tx.connection.execute(statement)).scalar_one_or_none()
    if found is not None:
        return found, 0
    # By one clock, the database's: nobody else's need agree with it.
    ahead_seconds = select(earned_at - present).where(mutation_rates.c.subject == subject)
    waits: float = (await tx.connection.execute(ahead_seconds)).scalar_one()
    return 0, max(0.0, waits - (burst - 1) * interval_seconds)


async def forget_idle(tx: Transaction, limit: int) -> int:
    """Delete up to `limit` of the rows that say nothing any more; returns how many."""
    idle = mutation_rates.c.earned_at < epoch()
    some = select(mutation_rates.c.subject).where(idle).limit(limit)
    # Asked of the row again as it is deleted: meanwhile its person may have been granted something.
    deleted = delete(mutation_rates).where(idle, mutation_rates.c.subject.in_(some))
    return (await tx.connection.execute(deleted)).rowcount
