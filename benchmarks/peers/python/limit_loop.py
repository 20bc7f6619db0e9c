"""The limit of the loop: bare asyncio and asyncpg, a compare-and-set and the journal's rows, with as many commits.

An execution of ours commits six times: claim, request, answer, ask, reply, verdict. So does this, with the same rows
in the same tables' shape and nothing else: no leases, no fences beyond the compare-and-set, no checks, no SQLAlchemy.
"""

import asyncio
import json
import os
import sys
import time
from typing import Any

import asyncpg
import uvloop

WORKERS = 16
TABLES = """
DROP TABLE IF EXISTS bare_logs; DROP TABLE IF EXISTS bare_jobs;
CREATE TABLE bare_jobs (id text PRIMARY KEY, status text NOT NULL, fence int NOT NULL, answer text, result text);
CREATE TABLE bare_logs (seq bigserial PRIMARY KEY, job_id text NOT NULL, type text NOT NULL, payload text,
    at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON bare_logs (job_id, seq);
"""
CHANGE = "UPDATE bare_jobs SET status = $2, fence = fence + 1, answer = $3 WHERE id = $1 AND fence = $4 RETURNING fence"
LOG = "INSERT INTO bare_logs (job_id, type, payload) VALUES ($1, $2, $3)"
STEPS = (
    ("in_execution", ["status_change"]),
    ("calling", ["agent_request"]),
    ("validating", ["agent_response"]),
    ("asking", ["validator_request"]),
    ("asked", ["validator_response"]),
    ("completed", ["status_change"]),
)


async def execute(pool: Any, job_id: str, payload: str) -> None:
    fence = 0
    for status, entries in STEPS:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT 1 FROM bare_jobs WHERE id = $1 FOR UPDATE", job_id)
            fence = await connection.fetchval(CHANGE, job_id, status, payload, fence)
            for entry in entries:
                await connection.execute(LOG, job_id, entry, payload)


async def run(count: int) -> dict[str, float]:
    async with asyncpg.create_pool(os.environ["DATABASE"], min_size=4, max_size=WORKERS) as pool:
        await pool.execute(TABLES)
        warming = 30
        ids = [f"job_{number}" for number in range(count + warming)]
        await pool.executemany("INSERT INTO bare_jobs VALUES ($1, 'assigned', 0)", [(item,) for item in ids])
        payload = json.dumps({"text": "x" * 400})
        waits: list[float] = []

        async def work(some: list[str]) -> None:
            for job_id in some:
                began = time.perf_counter()
                await execute(pool, job_id, payload)
                waits.append(time.perf_counter() - began)

        await work(ids[:warming])
        waits.clear()
        processor, started = time.process_time(), time.perf_counter()
        await asyncio.gather(*(work(ids[warming + number :: WORKERS]) for number in range(WORKERS)))
        seconds, used = time.perf_counter() - started, time.process_time() - processor
        done = len(waits)
        return {
            "per_second": done / seconds,
            "cpu_ms": used / done * 1e3,
            "p50_ms": sorted(waits)[done // 2] * 1e3,
        }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(int(sys.argv[1])))))
