"""Scenes that the crash tests and the long benchmark share."""

from __future__ import annotations

import asyncio
import random

from db.records import JobStatus
from tests.crash.harness import Stage
from tests.crash.server import ServerProcess


async def random_kills(scene: Stage, *, seed: int, kills: int, jobs: int) -> None:
    """Keep two servers busy and kill one or the other at random moments; then let everything come to its end."""
    dice = random.Random(seed)
    agent = await scene.agent("0.05")
    waiting = [await scene.job(agent) for _ in range(jobs)]
    servers: list[ServerProcess] = [await scene.server(), await scene.server()]

    async def press(job_index: int) -> None:
        await scene.press(dice.choice(servers), waiting[job_index], wait_seconds=0)

    async def killer() -> None:
        for _ in range(kills):
            await asyncio.sleep(dice.uniform(0.02, 0.6))
            index = dice.randrange(2)
            servers[index].kill()
            servers[index] = await scene.server()

    async def presser() -> None:
        for index in range(jobs):
            await press(index)
            await asyncio.sleep(dice.uniform(0, kills * 0.5 / jobs))

    await asyncio.gather(killer(), presser())
    for job in waiting:
        found, _ = await scene.settled(job, 60)
        if found.status is JobStatus.ASSIGNED:
            await scene.press(servers[0], job)
            found, _ = await scene.settled(job, 60)
        assert found.status is JobStatus.COMPLETED
