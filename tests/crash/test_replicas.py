"""Several machines: whichever part of it goes away and comes back, nothing is lost and nobody is called twice."""

from __future__ import annotations

import asyncio
import gc
import random
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.crash.crowds import all_completed, all_seen, following, press
from tests.crash.harness import LEASE_SECONDS, stage
from tests.databases import OwnServer, own_postgresql_server, scratch_directory
from tests.temporal_server import TemporalServer, temporal_server

JOBS = 36
# Long enough that each of the blows finds some under way.
AGENT_SECONDS = "0.3"


@pytest.fixture
def own_postgresql() -> Generator[OwnServer]:
    with own_postgresql_server() as server:
        yield server


@pytest.fixture
def own_temporal() -> Generator[TemporalServer]:
    with scratch_directory("temporal") as directory, temporal_server(directory) as server:
        yield server


# Connections of this very process that the restart tears are warned of when they are collected: here, and not later.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
async def test_replicas_killed_and_stopped_and_the_database_restarted(
    own_postgresql: OwnServer, tmp_path: Path
) -> None:
    dice = random.Random(1)
    async with stage(own_postgresql.url, tmp_path) as scene:
        replicas = [await scene.server() for _ in range(3)]
        serving = list(replicas)
        agent = await scene.agent(AGENT_SECONDS)
        jobs = [await scene.job(agent, judged=index % 3 == 0) for index in range(JOBS)]

        async with following(scene, lambda: serving, 3) as followers:
            for index, job in enumerate(jobs):
                await press(scene, lambda: serving, job, dice)
                if index == JOBS // 4:
                    serving.remove(replicas[0])
                    replicas[0].kill()
                if index == JOBS // 2:
                    serving.remove(replicas[1])
                    replicas[1].kill(signal.SIGSTOP)
                if index == JOBS * 3 // 4:
                    await asyncio.to_thread(own_postgresql.restart)
            # By now others have taken over what the stopped one had; it must not notice too late.
            await asyncio.sleep(LEASE_SECONDS)
            replicas[1].kill(signal.SIGCONT)
            serving.append(replicas[1])

            await all_completed(scene, lambda: serving, jobs, dice)
            await all_seen(followers, jobs)
            assert max(follower.connections for follower in followers) > 1

        assert await scene.problems(database_was_away=True) == []
    gc.collect()


async def test_workers_killed_temporal_restarted_and_the_setting_changed(
    postgresql_url: str, own_temporal: TemporalServer, tmp_path: Path
) -> None:
    dice = random.Random(2)
    temporal = {"SIGNOFF_RUNNER": "temporal", "SIGNOFF_TEMPORAL_ADDRESS": own_temporal.address}
    async with stage(postgresql_url, tmp_path) as scene:
        agent = await scene.agent(AGENT_SECONDS)
        jobs = [await scene.job(agent, judged=index % 3 == 0) for index in range(JOBS)]
        serving = [await scene.server()]

        async with following(scene, lambda: serving, 2) as followers:
            for job in jobs[:6]:
                await press(scene, lambda: serving, job, dice)
            # What was begun in process is finished in process, by whoever is there.
            before = serving.pop()
            serving += [await scene.server(settings=temporal) for _ in range(2)]
            before.kill()
            workers = [await scene.server(settings=temporal, works=True) for _ in range(2)]
            for index, job in enumerate(jobs[6:], 6):
                await press(scene, lambda: serving, job, dice)
                if index == JOBS // 2:
                    workers[0].kill()
                if index == JOBS * 2 // 3:
                    own_temporal.stop()
            await asyncio.to_thread(own_temporal.start)

            await all_completed(scene, lambda: serving, jobs, dice)
            await all_seen(followers, jobs)

        assert await scene.problems() == []
