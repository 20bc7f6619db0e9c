"""A SIGKILL at any instant loses nothing and calls nobody twice."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from db.records import ExecutionOutcome, ExecutionState, JobStatus
from services.executions.requests import Execute
from tests.crash.harness import ADMIN, LEASE_SECONDS, Stage, finish, stage
from tests.crash.mutants import MUTANTS
from tests.crash.server import ServerProcess

# How many failpoints are played at once: most of the time each waits for a lease to expire.
AT_ONCE = 4
# What a server does in the background it does from its start; here it is to end while it executes.
PRESSED = "Executions._start/before"


async def points_of_a_run(scene: Stage) -> list[str]:
    """Let one execution run through and return every failpoint that it came to."""
    record = scene.directory / "points"
    process = await scene.server(record=record)
    job = await scene.job(await scene.agent())
    answer = await scene.press(process, job)
    assert answer is not None
    assert answer.json()["status"] == "COMPLETED", answer.text
    process.kill()
    return record.read_text().splitlines()


async def die_at(scene: Stage, point: str, survivor: ServerProcess) -> str | None:
    """Kill a server at a failpoint of an execution and see that another one brings it to its end."""
    job = await scene.job(await scene.agent())
    victim = await scene.server(failpoint=point, after=PRESSED)
    await scene.press(victim, job)
    if not await asyncio.to_thread(victim.ended, 10):
        victim.kill()
        return f"{point}: the server never came there"
    before = sum(times for (job_id, _), times in scene.sent().items() if job_id == job.id)
    found, _ = await finish(scene, survivor, job)
    after = sum(times for (job_id, _), times in scene.sent().items() if job_id == job.id)
    if before > 1 or after > 2:
        return f"{point}: the agent was called {before} times, {after} after pressing again"
    return None if found.status is JobStatus.COMPLETED else f"{point}: the job is {found.status}"


async def test_a_kill_at_any_failpoint_is_recovered_from(database_url: str, tmp_path: Path) -> None:
    async with stage(database_url, tmp_path) as scene:
        points = await points_of_a_run(scene)
        assert len(points) >= 20, points
        # Two recoverers at once, all the time.
        survivor, _ = await scene.server(), await scene.server()
        room = asyncio.Semaphore(AT_ONCE)

        async def one(point: str) -> str | None:
            async with room:
                return await die_at(scene, point, survivor)

        failures = await asyncio.gather(*(one(point) for point in points))
        assert [failure for failure in failures if failure] == []
        assert await scene.problems() == []


async def test_a_kill_during_recovery_is_recovered_from(database_url: str, tmp_path: Path) -> None:
    async with stage(database_url, tmp_path) as scene:
        record = scene.directory / "points"
        jobs = {}
        for first in ("send to the agent/after", "send to the validator/after"):
            job = await scene.job(await scene.agent())
            victim = await scene.server(failpoint=first)
            await scene.press(victim, job)
            assert await asyncio.to_thread(victim.ended, 10)
            recorder = await scene.server(record=record)
            await scene.settled(job)
            recorder.kill()
            jobs[first] = record.read_text().splitlines()
            record.unlink()
        for first, points in jobs.items():
            assert len(points) >= 6, points
            for second in points:
                job = await scene.job(await scene.agent())
                for point in (first, second):
                    victim = await scene.server(failpoint=point, after=PRESSED if point == first else None)
                    if point == first:
                        await scene.press(victim, job)
                    assert await asyncio.to_thread(victim.ended, 10), (first, second)
                survivor = await scene.server()
                found, _ = await finish(scene, survivor, job)
                assert found.status is JobStatus.COMPLETED, (first, second)
                survivor.kill()
        assert await scene.problems() == []


async def stopped_owner(scene: Stage, point: str, path: str = "", **fields: object) -> tuple[str, int]:
    """Stop a server at a failpoint until another one has taken over, then let it go on; the job's end and sends."""
    job = await scene.job(await scene.agent(path, **fields))
    victim = await scene.server(failpoint=point, how=signal.SIGSTOP)
    pressing = asyncio.create_task(scene.press(victim, job, wait_seconds=1))
    await asyncio.sleep(LEASE_SECONDS + 1)
    survivor = await scene.server()
    found, execution = await scene.settled(job)
    victim.kill(signal.SIGCONT)
    await asyncio.sleep(1.5)
    after, same = await scene.look(job)
    assert (after.status, same) == (found.status, execution), "the stale owner wrote"
    victim.kill()
    survivor.kill()
    await pressing
    outcome = execution.outcome if execution else None
    return str(outcome), sum(times for (job_id, _), times in scene.sent().items() if job_id == job.id)


async def test_an_owner_that_was_stopped_past_its_lease_sends_and_writes_nothing(
    database_url: str, tmp_path: Path
) -> None:
    async with stage(database_url, tmp_path) as scene:
        assert await stopped_owner(scene, "Steps._log_request/after") == (ExecutionOutcome.AGENT_OUTCOME_UNKNOWN, 0)
        assert await stopped_owner(scene, "send to the agent/after") == (ExecutionOutcome.AGENT_OUTCOME_UNKNOWN, 1)
        assert await stopped_owner(scene, "send to the validator/after") == (ExecutionOutcome.ACCEPTED, 1)
        assert await scene.problems() == []


async def test_an_agent_slower_than_the_lease_is_not_called_again(database_url: str, tmp_path: Path) -> None:
    async with stage(database_url, tmp_path) as scene:
        process, _ = await scene.server(), await scene.server()
        job = await scene.job(await scene.agent(str(LEASE_SECONDS * 2.5)))
        answer = await scene.press(process, job)
        assert answer is not None
        assert answer.json()["status"] == "COMPLETED"
        assert sum(scene.sent().values()) == 1
        assert await scene.problems() == []


async def foreign_execution_is_left_alone(scene: Stage) -> bool:
    """Whether the servers leave alone an execution that belongs to another runner."""
    job = await scene.job(await scene.agent())
    scene.container.runner.name = "another"
    await scene.container.executions.execute(ADMIN, Execute(job.id, wait_seconds=0))
    scene.container.runner.name = "in_process"
    await asyncio.sleep(3)
    _, execution = await scene.look(job)
    assert execution is not None
    return execution.state is ExecutionState.QUEUED


async def test_the_executions_of_another_runner_are_left_alone(database_url: str, tmp_path: Path) -> None:
    async with stage(database_url, tmp_path) as scene:
        await scene.server()
        assert await foreign_execution_is_left_alone(scene)


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


async def test_random_kills_break_nothing(database_url: str, tmp_path: Path) -> None:
    async with stage(database_url, tmp_path) as scene:
        await random_kills(scene, seed=1, kills=12, jobs=50)
        assert await scene.problems() == []


# ------------------------------------------------------------------------------------------------------- mutants


async def symptoms(scene: Stage, mutant: str) -> Sequence[str]:
    """Play the scene that a fault shows in, and return what the harness finds."""
    if mutant == "sweeper_ignores_the_runner":
        await scene.server()
        return [] if await foreign_execution_is_left_alone(scene) else ["another runner's execution was claimed"]
    if mutant == "resume_without_fence":
        try:
            await stopped_owner(scene, "send to the agent/after")
        except AssertionError as error:
            return [str(error)]
        return await scene.problems()
    point = {
        "send_before_log": "send to the agent/after",
        "status_before_verdict": "status_before_verdict.<locals>.settle/before",
        "key_not_reused": "send to the agent/after",
    }[mutant]
    survivor = await scene.server()
    try:
        failure = await die_at(scene, point, survivor)
    except AssertionError as error:
        return [str(error)]
    return [*([failure] if failure else []), *await scene.problems()]


@pytest.mark.parametrize("mutant", MUTANTS)
async def test_the_harness_finds_each_fault(mutant: str, postgresql_url: str, tmp_path: Path) -> None:
    async with stage(postgresql_url, tmp_path, mutant=mutant) as scene:
        assert await symptoms(scene, mutant) != []
