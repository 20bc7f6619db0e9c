"""The limit of the loop: bare asyncio and asyncpg, compare-and-sets and the journal's rows, in as many commits as ours.

The same rows go into the same tables (`journal`), and nothing else is done: no leases, no slots, no reading again of
what another process may have changed, no checks, no SQLAlchemy.
"""

import asyncio
import json
import sys
import time

import uvloop
from journal import Journal, new_id

WORKERS = 16
WARMING = 30


async def execute(journal: Journal, job_id: str) -> None:
    execution_id = new_id("exe")
    for number in range(journal.last + 1):
        await journal.commit(number, job_id, execution_id)


async def run(model: str, count: int) -> dict[str, float]:
    journal = await Journal.like(model, WORKERS)
    ids = await journal.make_jobs(count + WARMING)
    waits: list[float] = []

    async def work(some: list[str]) -> None:
        for job_id in some:
            began = time.perf_counter()
            await execute(journal, job_id)
            waits.append(time.perf_counter() - began)

    await work(ids[:WARMING])
    waits.clear()
    processor, started = time.process_time(), time.perf_counter()
    await asyncio.gather(*(work(ids[WARMING + number :: WORKERS]) for number in range(WORKERS)))
    seconds, used = time.perf_counter() - started, time.process_time() - processor
    done = len(waits)
    return {"per_second": done / seconds, "cpu_ms": used / done * 1e3, "p50_ms": sorted(waits)[done // 2] * 1e3}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(sys.argv[1], int(sys.argv[2])))))
