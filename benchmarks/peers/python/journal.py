"""What an execution of ours has written, commit for commit, to be written again by others.

A finished execution is the model: its log entries in the order in which they were committed, its own row, its
validation. So the others write the same rows into the same tables (constraints, triggers, indexes and all) in as many
commits, whatever those are; only the compare-and-sets are written here.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from itertools import groupby
from typing import Any
from uuid import uuid4

import asyncpg

WORKERS = 16
# On each connection PostgreSQL plans a statement five times before it keeps the plan: that is the start of a service.
WARMING = 10 * WORKERS
# What is not the model's: it is set as the execution goes on.
_NOT_YET = {"outcome": None, "finished_at": None, "answer": None, "answered": False, "latest_validation_id": None}
_ASSIGNED = {"status": "assigned", "result": None, "notice": None, "execution_count": 0, "latest_execution_id": None}
_TAKE = """
UPDATE jobs SET status = 'in_execution', status_since = now(), updated_at = now(), latest_execution_id = $2,
    execution_count = execution_count + 1 WHERE id = $1 AND status = 'assigned' RETURNING id
"""
_GO_ON = """
UPDATE executions SET state = $3, answered = answered OR $4::text IS NOT NULL, answer = coalesce($4, answer)
WHERE id = $1 AND fence = $2 RETURNING id
"""
_FINISH = """
UPDATE executions SET state = 'finished', outcome = $3, finished_at = now(), latest_validation_id = $4
WHERE id = $1 AND fence = $2 RETURNING id
"""
_COMPLETE = """
UPDATE jobs SET status = 'completed', result = $2, status_since = now(), updated_at = now()
WHERE id = $1 AND status = 'in_execution' RETURNING id
"""

Row = dict[str, Any]


def new_id(kind: str) -> str:
    return f"{kind}_{uuid4().hex[:26]}"


def insertion(table: str, row: Row) -> str:
    names = ", ".join(f'"{name}"' for name in row)
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    return f"INSERT INTO {table} ({names}) VALUES ({places})"  # noqa: S608  (the names are a table's columns)


async def as_it_is(_connection: Any) -> None:
    """What asyncpg would ask the database for each time that a connection goes back to the pool."""


class Journal:
    """Writes executions like one that there is. Its commits are numbered from 0; the last is `last`."""

    def __init__(self, pool: Any, job: Row, execution: Row, commits: list[list[Row]], validations: list[Row]) -> None:
        self.pool, self.job, self.execution = pool, job, execution
        self.commits, self.last, self.validations = commits, len(commits) - 1, validations
        self.place = {entry["id"]: place for place, entry in enumerate(entry for rows in commits for entry in rows)}
        self.add_execution = insertion("executions", execution)
        self.add_log = insertion("job_logs", commits[0][0])

    @classmethod
    async def like(cls, execution_id: str) -> "Journal":
        pool = await asyncpg.create_pool(os.environ["DATABASE"], min_size=4, max_size=WORKERS, reset=as_it_is)
        execution = dict(await pool.fetchrow("SELECT * FROM executions WHERE id = $1", execution_id))
        job = dict(await pool.fetchrow("SELECT * FROM jobs WHERE id = $1", execution["job_id"]))
        validations = await pool.fetch("SELECT * FROM validations WHERE execution_id = $1", execution_id)
        # Rows of one transaction carry its number.
        logs = await pool.fetch(
            "SELECT xmin::text AS commit, * FROM job_logs WHERE execution_id = $1 ORDER BY seq", execution_id
        )
        commits = [
            [{name: value for name, value in row.items() if name not in {"commit", "seq"}} for row in rows]
            for _, rows in groupby(logs, lambda row: row["commit"])
        ]
        return cls(pool, job, execution, commits, [dict(row) for row in validations])

    async def make_jobs(self, count: int) -> list[str]:
        ids = [new_id("job") for _ in range(count)]
        rows = [self.job | _ASSIGNED | {"id": job_id} for job_id in ids]
        await self.pool.executemany(insertion("jobs", rows[0]), [tuple(row.values()) for row in rows])
        return ids

    def between(self, who: str) -> list[int]:
        """The commits, but for both ends, that begin with what went to or came from `agent` or `validator`."""
        return [number for number in range(1, self.last) if self.commits[number][0]["type"].startswith(who)]

    async def commit(self, number: int, job_id: str, execution_id: str) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            held = await self._change(connection, number, job_id, execution_id)
            assert held, f"commit {number} of {execution_id} is not its turn"
            for entry in self.commits[number]:
                mine = {"id": self._log_id(execution_id, entry["id"]), "job_id": job_id, "execution_id": execution_id}
                if entry["answers"]:
                    mine["answers"] = self._log_id(execution_id, entry["answers"])
                await connection.execute(self.add_log, *(entry | mine).values())

    async def _change(self, connection: Any, number: int, job_id: str, execution_id: str) -> bool:
        """Change the execution and, at both ends, its job, by compare-and-set; whether they were as they should be."""
        fence, wrote = self.execution["fence"], {entry["type"] for entry in self.commits[number]}
        if number == 0:
            row = self.execution | _NOT_YET | {"id": execution_id, "job_id": job_id, "state": "queued"}
            await connection.execute(self.add_execution, *row.values())
            return bool(await connection.fetchval(_TAKE, job_id, execution_id))
        if number < self.last:
            state = "calling_agent" if wrote == {"agent_request"} else "validating"
            answer = self.execution["answer"] if "agent_response" in wrote else None
            return bool(await connection.fetchval(_GO_ON, execution_id, fence, state, answer))
        latest = None
        for model in self.validations:
            row = model | {"id": new_id("val"), "execution_id": execution_id}
            await connection.execute(insertion("validations", row), *row.values())
            latest = row["id"]
        finished = await connection.fetchval(_FINISH, execution_id, fence, self.execution["outcome"], latest)
        return bool(finished and await connection.fetchval(_COMPLETE, job_id, self.job["result"]))

    def _log_id(self, execution_id: str, model_id: str) -> str:
        return f"log_{execution_id[4:-2]}{self.place[model_id]:02}"


async def timed(journal: Journal, count: int, execute: Callable[[str], Awaitable[None]]) -> dict[str, float]:
    """Execute so many jobs, some at a time; how many a second, and what each took."""
    ids = await journal.make_jobs(count + WARMING)
    waits: list[float] = []

    async def work(some: list[str]) -> None:
        for job_id in some:
            began = time.perf_counter()
            await execute(job_id)
            waits.append(time.perf_counter() - began)

    async def work_all(some: list[str]) -> None:
        await asyncio.gather(*(work(some[number::WORKERS]) for number in range(WORKERS)))

    await work_all(ids[:WARMING])
    waits.clear()
    processor, started = time.process_time(), time.perf_counter()
    await work_all(ids[WARMING:])
    seconds, used = time.perf_counter() - started, time.process_time() - processor
    done = len(waits)
    return {"per_second": done / seconds, "cpu_ms": used / done * 1e3, "p50_ms": sorted(waits)[done // 2] * 1e3}
