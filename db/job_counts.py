"""How many jobs there are in each status: kept, so that asking costs the same however many there are.

Triggers note each job that comes, moves or goes as a change, in the transaction that does it. Counters would make
transactions wait for each other; changes are only appended, and added up now and then. What is kept and what has not
been added yet make, in any one statement, the exact count.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, FromClause, any_, bindparam, delete, func, select, true, union_all
from sqlalchemy.dialects import postgresql, sqlite

from db.models import job_count_changes as changes
from db.models import job_counts as kept
from db.paging import prepared
from db.records import JobStatus
from db.types import ByteText

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from sqlalchemy import Select

    from db.session import Transaction

# In place of an owner: no person's id is empty.
EVERYBODY = ""


async def by_status(tx: Transaction, owner_ids: Sequence[str] | None) -> dict[JobStatus, int]:
    """How many jobs these owners have in each status, None: everybody; statuses without a job are absent."""

    def owned(table: FromClause) -> ColumnElement[bool]:
        if owner_ids is None:
            return table.c.owner_id == EVERYBODY if table is kept else true()
        if len(owner_ids) == 1:
            return table.c.owner_id == bindparam("owner", type_=ByteText)
        return table.c.owner_id.in_(owner_ids)

    def build() -> Select[Any, int]:
        parts = union_all(
            select(kept.c.status, kept.c.jobs).where(owned(kept)),
            select(changes.c.status, changes.c.change).where(owned(changes)),
        ).subquery("parts")
        total = func.sum(parts.c.jobs)
        return select(parts.c.status, total.label("jobs")).group_by(parts.c.status).having(total != 0)

    if owner_ids is None:
        shape, values = "everybody", {}
    elif len(owner_ids) == 1:
        shape, values = "one", {"owner": owner_ids[0]}
    else:
        shape, values = None, {}
    statement = prepared(tx, shape and ("job counts", shape), build)
    return {JobStatus(row[0]): int(row[1]) for row in await tx.fetch(statement, values)}


async def fold(tx: Transaction, limit: int) -> int:
    """Add up to `limit` changes to what is kept; returns how many.

    Any number of processes may: each change is deleted by one of them, and all add in the same order.
    """
    some = (
        select(changes.c.seq).order_by(changes.c.seq).limit(limit).with_for_update(skip_locked=True).scalar_subquery()
    )
    # Of a table that is empty most of the time PostgreSQL expects nothing, and would compare each row with each.
    among = changes.c.seq == any_(func.array(some)) if tx.postgresql else changes.c.seq.in_(some)
    taken = delete(changes).where(among)
    rows = (await tx.connection.execute(taken.returning(changes.c.owner_id, changes.c.status, changes.c.change))).all()
    sums: Counter[tuple[str, str]] = Counter()
    for owner_id, status, change in rows:
        sums[owner_id, status] += change
        sums[EVERYBODY, status] += change
    added = [
        {"owner_id": owner_id, "status": status, "jobs": jobs}
        for (owner_id, status), jobs in sorted(sums.items())
        if jobs
    ]
    if added:
        insert = postgresql.insert(kept) if tx.postgresql else sqlite.insert(kept)
        await tx.connection.execute(
            insert.on_conflict_do_update(
                index_elements=[kept.c.owner_id, kept.c.status], set_={"jobs": kept.c.jobs + insert.excluded.jobs}
            ),
            added,
        )
    return len(rows)
