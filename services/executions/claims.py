"""A process's hold on an execution, and what every step does first: lock the job, check the fence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from db import executions as execution_rows
from db import jobs as job_rows
from db.executions import NOTHING

if TYPE_CHECKING:
    from db.executions import Spent
    from db.records import Job, Run
    from db.session import Transaction


class Lease(Protocol):
    """A process's hold on an execution, by its monotonic clock."""

    def holds(self) -> bool:
        """Whether the lease surely has not expired."""
        ...


@dataclass(frozen=True)
class Claim:
    """An execution that this process has claimed: its writes carry the fence."""

    execution_id: str
    fence: int
    lease: Lease = field(repr=False)


class LostError(Exception):
    """Somebody else has the execution now, or has ended it: this process writes and sends nothing more for it."""


async def lock_job(tx: Transaction, run: Run) -> Job:
    """Lock the execution's job. Raises LostError."""
    job = await job_rows.lock(tx, run.execution.job_id)
    if job is None:
        raise LostError
    return job


async def hold(tx: Transaction, claim: Claim, run: Run, *, calls: int = 0, spent: Spent = NOTHING) -> Job:
    """Lock the job and make sure that the execution is still the claim's until the transaction ends.

    Counts requests that are logged within it, and what calls cost. Raises LostError where it is not the claim's.
    """
    job = await lock_job(tx, run)
    if not await execution_rows.keeping(tx, claim.execution_id, claim.fence, calls=calls, spent=spent):
        raise LostError
    return job
