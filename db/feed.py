"""Where the feed of log entries stands: a cursor below which every entry is committed.

Numbers are drawn from a sequence, and transactions commit out of their order. Within one job that cannot be seen:
the job's row is locked first. For the feed of all jobs a writer announces, before it draws a number, how far the
sequence was, as a shared advisory lock that ends with its transaction. A reader that first looks how far the
sequence is and then which announcements stand knows a number up to which nothing can still appear.

SQLite has one writer at a time: there the newest entry is the watermark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Text, func, literal_column, select, text

from db.models import job_logs
from db.paging import prepared

if TYPE_CHECKING:
    from db.session import Transaction

# Marks our announcements among all advisory locks of the database: the upper 16 bits of the key.
_NAMESPACE = 0x5160

_DRAWN = "CASE WHEN is_called THEN last_value ELSE last_value - 1 END"
_ANNOUNCE = f"SELECT pg_advisory_xact_lock_shared({_NAMESPACE << 48} | {_DRAWN}) FROM job_logs_seq_seq"  # noqa: S608
_DRAWN_NOW = text(f"SELECT {_DRAWN} FROM job_logs_seq_seq")  # noqa: S608
_LOWEST_ANNOUNCED = text(
    f"""
    SELECT min((classid::bigint << 32 | objid::bigint) & {(1 << 48) - 1}) FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 16 = {_NAMESPACE}
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """  # noqa: S608  (our own constants)
)


async def announce(tx: Transaction) -> None:
    """Say that this transaction may append to a log; before it draws a number."""
    if tx.postgresql:
        await tx.fetch(prepared(tx, "announce", lambda: text(_ANNOUNCE)), {})


def announcement() -> ColumnElement[str]:
    """The same as a column of a statement that is executed anyway, of which it makes a row: PostgreSQL's."""
    return literal_column(f"({_ANNOUNCE})", Text()).label("announced")


async def watermark(tx: Transaction) -> int:
    """The highest number such that no entry at or below it can still appear; read entries after asking.

    On PostgreSQL the transaction must be READ COMMITTED: entries are read by a later statement's newer snapshot.
    """
    if not tx.postgresql:
        newest: int = (await tx.connection.execute(select(func.coalesce(func.max(job_logs.c.seq), 0)))).scalar_one()
        return newest
    # Each by itself: what is announced is to be seen later than what was drawn.
    drawn: int
    ((drawn,),) = await tx.fetch(prepared(tx, "drawn", lambda: _DRAWN_NOW), {})
    announced: int | None
    ((announced,),) = await tx.fetch(prepared(tx, "announced", lambda: _LOWEST_ANNOUNCED), {})
    return drawn if announced is None else min(drawn, announced)
