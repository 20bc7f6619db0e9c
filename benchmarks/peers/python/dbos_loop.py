"""The loop as a DBOS workflow: the engine keeps the journal of steps, the steps write what the service must show."""

import asyncio
import json
import os
import sys
import time
from typing import Any

import asyncpg
from dbos import DBOS, DBOSConfig

WORKERS = 16
CHANGE = "UPDATE bare_jobs SET status = $2, fence = fence + 1, answer = $3 WHERE id = $1"
LOG = "INSERT INTO bare_logs (job_id, type, payload) VALUES ($1, $2, $3)"
TABLES = """
DROP TABLE IF EXISTS bare_logs; DROP TABLE IF EXISTS bare_jobs;
CREATE TABLE bare_jobs (id text PRIMARY KEY, status text NOT NULL, fence int NOT NULL, answer text, result text);
CREATE TABLE bare_logs (seq bigserial PRIMARY KEY, job_id text NOT NULL, type text NOT NULL, payload text,
    at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON bare_logs (job_id, seq);
"""
config: DBOSConfig = {"name": "peer", "system_database_url": os.environ["DBOS_DATABASE"], "log_level": "ERROR"}
DBOS(config=config)
pool: Any = None


async def write(job_id: str, status: str, entries: list[str], payload: str) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(CHANGE, job_id, status, payload)
        for entry in entries:
            await connection.execute(LOG, job_id, entry, payload)


@DBOS.step()
async def begin(job_id: str, payload: str) -> None:
    await write(job_id, "in_execution", ["status_change"], payload)


@DBOS.step()
async def call(job_id: str, payload: str) -> str:
    await write(job_id, "calling", ["agent_request"], payload)
    await write(job_id, "validating", ["agent_response"], payload)
    return payload


@DBOS.step()
async def validate(job_id: str, payload: str) -> str:
    await write(job_id, "asking", ["validator_request"], payload)
    await write(job_id, "asked", ["validator_response"], payload)
    return "pass"


@DBOS.step()
async def settle(job_id: str, payload: str) -> None:
    await write(job_id, "completed", ["status_change"], payload)


@DBOS.workflow()
async def execute(job_id: str, payload: str) -> None:
    await begin(job_id, payload)
    answer = await call(job_id, payload)
    await validate(job_id, answer)
    await settle(job_id, answer)


async def run(count: int) -> dict[str, float]:
    global pool  # noqa: PLW0603
    pool = await asyncpg.create_pool(os.environ["DATABASE"], min_size=4, max_size=WORKERS)
    await pool.execute(TABLES)
    warming = 10
    ids = [f"job_{number}" for number in range(count + warming)]
    await pool.executemany("INSERT INTO bare_jobs VALUES ($1, 'assigned', 0)", [(item,) for item in ids])
    payload = json.dumps({"text": "x" * 400})
    waits: list[float] = []

    async def work(some: list[str]) -> None:
        for job_id in some:
            began = time.perf_counter()
            handle = await DBOS.start_workflow_async(execute, job_id, payload)
            await handle.get_result()
            waits.append(time.perf_counter() - began)

    await work(ids[:warming])
    waits.clear()
    processor, started = time.process_time(), time.perf_counter()
    await asyncio.gather(*(work(ids[warming + number :: WORKERS]) for number in range(WORKERS)))
    seconds, used = time.perf_counter() - started, time.process_time() - processor
    done = len(waits)
    return {"per_second": done / seconds, "cpu_ms": used / done * 1e3, "p50_ms": sorted(waits)[done // 2] * 1e3}


if __name__ == "__main__":
    DBOS.launch()
    print(json.dumps(asyncio.run(run(int(sys.argv[1])))))
    DBOS.destroy()
