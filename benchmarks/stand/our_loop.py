"""Our loop in a process of its own, so that its processor time is its own; asked for a URL and a count.

An instant agent and an instant validator; everything else is as it is served: claims, leases, fences, the journal,
checks, notices, and how seldom garbage is looked for. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop

from app.container import Wiring, open_container
from app.serving import collect_seldom
from services.agents import AgentDraft
from services.executions.requests import Execute
from services.inputs import CriterionDraft
from services.jobs import JobDraft
from tests.agents import LOOPBACK
from tests.fakes import FakeExecutor, FakeValidator
from tests.services.conftest import ADMIN, PlainSecrets

WORKERS = 16
# As the others are warmed, see benchmarks/peers/python/journal.py.
WARMING = 10 * WORKERS


async def run(url: str, count: int) -> dict[str, float]:
    """Create jobs, then execute them all, some at a time."""
    wiring = Wiring(
        database_url=url,
        secrets=PlainSecrets(),
        allowed_networks=LOOPBACK,
        extra_executors=[("instant", FakeExecutor())],
        validator=FakeValidator(),
        mutations_per_minute=1_000_000,
        mutations_burst=1_000_000,
    )
    async with open_container(wiring) as container:
        draft = AgentDraft("Agent", "http://127.0.0.1:9/", executor="instant", max_concurrent_executions=1000)
        created = await container.agents.create(ADMIN, draft)
        agent = created.agent
        assert agent is not None, created.user_errors
        jobs: list[str] = []
        for _ in range(count + WARMING):
            made = await container.jobs.create(
                ADMIN, JobDraft("Job", (CriterionDraft("Is polite."),), agent_id=agent.id, input={"text": "x" * 400})
            )
            assert made.job is not None, made.user_errors
            jobs.append(made.job.id)
        waits: list[float] = []

        async def work(ids: list[str]) -> None:
            for job_id in ids:
                began = time.perf_counter()
                result = await container.executions.execute(ADMIN, Execute(job_id, wait_seconds=60))
                waits.append(time.perf_counter() - began)
                assert result.job is not None, result.user_errors
                assert result.job.status == "completed", result.job

        async def work_all(ids: list[str]) -> None:
            await asyncio.gather(*(work(ids[number::WORKERS]) for number in range(WORKERS)))

        await work_all(jobs[:WARMING])
        waits.clear()
        collect_seldom()
        processor, started = time.process_time(), time.perf_counter()
        await work_all(jobs[WARMING:])
        seconds, used = time.perf_counter() - started, time.process_time() - processor
        return {
            "per_second": count / seconds,
            "cpu_ms": used / count * 1e3,
            "p50_ms": sorted(waits)[len(waits) // 2] * 1e3,
        }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(sys.argv[1], int(sys.argv[2])))))
