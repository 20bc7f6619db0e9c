"""Statements on the idempotency keys that clients send with mutations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, insert, select, text, tuple_

from db.models import idempotency_keys
from db.types import in_seconds, now

if TYPE_CHECKING:
    from db.session import Transaction

# Clients retry within minutes; a day outlives every retry policy that we know of.
KEPT_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a key was used for."""

    request_digest: str
    job_id: str
    execution_id: str | None


async def recall(tx: Transaction, subject: str, mutation: str, key: str) -> Remembered | None:
    """What this person used the key for in this mutation within the last day.

    Keeps others who bring the same key waiting until the transaction ends: they then find what it was used for.
    """
    if tx.postgresql:
        await tx.connection.execute(
            select(func.pg_advisory_xact_lock(func.hashtextextended(f"{subject}\x1f{mutation}\x1f{key}", text("0"))))
        )
    mine = (
        (idempotency_keys.c.subject == subject)
        & (idempotency_keys.c.mutation == mutation)
        & (idempotency_keys.c.key == key)
    )
    fresh = idempotency_keys.c.created_at > in_seconds(-KEPT_SECONDS)
    row = (await tx.connection.execute(select(idempotency_keys).where(mine, fresh))).one_or_none()
    if row is None:
        await tx.connection.execute(delete(idempotency_keys).where(mine))
        return None
    return Remembered(row.request_digest, row.job_id, row.execution_id)


async def remember(
    tx: Transaction,
    *,
    subject: str,
    mutation: str,
    key: str,
    request_digest: str,
    job_id: str,
    execution_id: str | None,
) -> None:
    """Remember what the key was used for. The transaction has asked `recall` first."""
    await tx.connection.execute(
        insert(idempotency_keys).values(
            subject=subject,
            mutation=mutation,
            key=key,
            request_digest=request_digest,
            job_id=job_id,
            execution_id=execution_id,
            created_at=now(),
        )
    )


async def forget_old(tx: Transaction, limit: int) -> int:
    """Delete up to `limit` of the keys older than a day; returns how many."""
    key = (idempotency_keys.c.subject, idempotency_keys.c.mutation, idempotency_keys.c.key)
    old = select(*key).where(idempotency_keys.c.created_at <= in_seconds(-KEPT_SECONDS)).limit(limit)
    return (await tx.connection.execute(delete(idempotency_keys).where(tuple_(*key).in_(old)))).rowcount
