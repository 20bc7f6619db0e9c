"""A SIGKILL at any instant loses nothing and calls nobody twice."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from db.records import ExecutionOutcome, ExecutionState, Job, JobStatus
from services.executions.requests import Execute
from tests.crash.harness import ADMIN, LEASE_SECONDS, Stage, finish, stage, stages
from tests.crash.mutants import MUTANTS
from tests.crash.scenes import random_kills
from tests.crash.server import ServerProcess

# How many failpoints are played at once: most of the time each waits for a lease to expire.
AT_ONCE = 8
# A machine that stands still for as long as a lease gives what a server executes to another one, as it should.
TRIES = 3
# What a server does in the background it does from its start; here it is to end while it executes.
PRESSED = "MutationRates.take/before"
# Whether a short execution comes there is up to the clock; a slow agent's always does.
BY_THE_CLOCK = tuple(f"Leases._renew/{stage}" for stage in ("before", "inside", "after"))


async def points_of_a_run(scene: Stage) -> list[str]:
    """Let one execution run through and return every failpoint that it came to."""
    record = scene.directory / "points"
    process = await scene.server(record=record)
    job = await scene.job(await scene.agent())
    answer = await scene.press(process, job)
    assert answer is not None
    assert answer.json()["status"] == "COMPLETED", answer.text
    return await recorded(record, process)


async def recorded(record: Path, process: ServerProcess) -> list[str]:
    """Which failpoints a server came to, and always comes to; then it is killed.

    What it has committed is seen before it comes to the point behind that.
    """
    async with asyncio.timeout(30):
        while not is_whole(points := lines(record)):  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.02)
    process.kill()
    return [point for point in points if point not in BY_THE_CLOCK]


def lines(record: Path) -> list[str]:
    return record.read_text().splitlines()


def is_whole(points: Sequence[str]) -> bool:
    """Whether each transaction that was begun has been left."""
    begun = [point.removesuffix("/inside") for point in points if point.endswith("/inside")]
    return all(f"{step}/after" in points for step in begun)


async def came_there(scene: Stage, victim: ServerProcess, job: Job) -> bool:
    """Whether a server dies at its failpoint, and not because the job came to its end without it."""
    ended_without = 0
    for _ in range(120):
        if await asyncio.to_thread(victim.ended, 0.5):
            return True
        found, _ = await scene.look(job)
        ended_without += found.status is JobStatus.COMPLETED
        if ended_without > 10:  # what it did last may have been to end it
            break
    victim.kill()
    return False


async def die_at(scene: Stage, point: str, survivor: ServerProcess, path: str = "") -> str | None:
    """Kill a server at a failpoint of an execution and see that another one brings it to its end."""
    for _ in range(TRIES):
        job = await scene.job(await scene.agent(path))
        victim = await scene.server(failpoint=point, after=PRESSED)
        await scene.press(victim, job)
        if await came_there(scene, victim, job):
            break
    else:
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
        survivor, _ = await scene.survivor(), await scene.survivor()
        room = asyncio.Semaphore(AT_ONCE)

        async def one(point: str, path: str = "") -> str | None:
            async with room:
                return await die_at(scene, point, survivor, path)

        slow = str(LEASE_SECONDS)
        failures = await asyncio.gather(*map(one, points), *(one(point, slow) for point in BY_THE_CLOCK))
        assert [failure for failure in failures if failure] == []
        assert await scene.problems() == []


async def points_of_a_recovery(scene: Stage, first: str) -> list[str]:
    """Kill a server at a failpoint, and return every failpoint that the one comes to which goes on from there."""
    record = scene.directory / "points"
    job = await scene.job(await scene.agent())
    victim = await scene.server(failpoint=first)
    await scene.press(victim, job)
    assert await asyncio.to_thread(victim.ended, 60)
    recorder = await scene.server(record=record)
    await scene.settled(job)
    points = await recorded(record, recorder)
    record.unlink()
    assert len(points) >= 6, points
    return points


async def die_twice(scene: Stage, first: str, second: str) -> str | None:
    """Kill a server at a failpoint, and the one that goes on from there at another; a third ends it well."""
    job = await scene.job(await scene.agent())
    victim = await scene.server(failpoint=first, after=PRESSED)
    await scene.press(victim, job)
    if not await asyncio.to_thread(victim.ended, 60):
        return f"{first}: the server never came there"
    if not await asyncio.to_thread((await scene.server(failpoint=second)).ended, 60):
        return f"{first}, {second}: the server never came there"
    survivor = await scene.survivor()
    found, _ = await finish(scene, survivor, job)
    survivor.kill()
    return None if found.status is JobStatus.COMPLETED else f"{first}, {second}: the job is {found.status}"


async def test_a_kill_during_recovery_is_recovered_from(database_urls: Sequence[str], tmp_path: Path) -> None:
    async with stages(database_urls, tmp_path) as scenes:
        firsts = ("send to the agent/after", "send to the validator/after")
        seconds = await asyncio.gather(*map(points_of_a_recovery, scenes, firsts))
        deaths = [(first, second) for first, points in zip(firsts, seconds, strict=True) for second in points]
        if database_urls[0].startswith("sqlite"):
            # The steps are the same on both databases: what differs is played at each failpoint above.
            deaths = deaths[::4]

        failures: list[str | None] = []

        async def play(scene: Stage) -> None:
            while deaths:
                failures.append(await die_twice(scene, *deaths.pop()))

        await asyncio.gather(*map(play, scenes))
        assert [failure for failure in failures if failure] == []
        assert [problem for scene in scenes for problem in await scene.problems()] == []


async def stopped_owner(scene: Stage, point: str, path: str = "", **fields: object) -> tuple[str, int]:
    """Stop a server at a failpoint until another one has taken over, then let it go on; the job's end and sends."""
    job = await scene.job(await scene.agent(path, **fields))
    victim = await scene.server(failpoint=point, how=signal.SIGSTOP)
    pressing = asyncio.create_task(scene.press(victim, job, wait_seconds=1))
    async with asyncio.timeout(60):
        while psutil.Process(victim.pid).status() != psutil.STATUS_STOPPED:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    # Only once its lease has expired does another one take over.
    survivor = await scene.survivor()
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
    database_urls: Sequence[str], tmp_path: Path
) -> None:
    stops = {
        "Steps._log_request/after": (ExecutionOutcome.AGENT_OUTCOME_UNKNOWN, 0),
        "send to the agent/after": (ExecutionOutcome.AGENT_OUTCOME_UNKNOWN, 1),
        "send to the validator/after": (ExecutionOutcome.ACCEPTED, 1),
    }
    async with stages(database_urls, tmp_path) as scenes:
        ends = await asyncio.gather(*map(stopped_owner, scenes, stops))
        assert dict(zip(stops, ends, strict=True)) == stops
        assert [problem for scene in scenes for problem in await scene.problems()] == []


async def test_an_owner_that_was_stopped_while_it_renewed_its_lease_keeps_nobody_from_taking_over(
    postgresql_url: str, tmp_path: Path
) -> None:
    async with stage(postgresql_url, tmp_path) as scene:
        end = await stopped_owner(scene, "Leases._renew/inside", str(LEASE_SECONDS))
        assert end == (ExecutionOutcome.AGENT_OUTCOME_UNKNOWN, 1)
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


async def test_random_kills_break_nothing(database_url: str, tmp_path: Path) -> None:
    async with stage(database_url, tmp_path) as scene:
        await random_kills(scene, seed=1, kills=8, jobs=32)
        assert await scene.problems() == []


async def test_fifty_presses_on_two_servers_make_one_execution(postgresql_url: str, tmp_path: Path) -> None:
    async with stage(postgresql_url, tmp_path) as scene:
        servers = [await scene.server(), await scene.server()]
        job = await scene.job(await scene.agent("0.5"))
        answers = await asyncio.gather(*(scene.press(servers[index % 2], job) for index in range(50)))
        codes = Counter(answer.status_code if answer else None for answer in answers)
        assert codes == {200: 1, 409: 49}
        refused = [answer.json()["userErrors"][0]["code"] for answer in answers if answer and answer.status_code == 409]
        assert set(refused) == {"NOT_EXECUTABLE"}
        _, execution = await scene.look(job)
        assert execution is not None
        assert execution.number == 1
        assert sum(scene.sent().values()) == 1
        assert await scene.problems() == []


async def test_a_thousand_executions_in_flight_fit_into_200_megabytes(postgresql_url: str, tmp_path: Path) -> None:
    async with stage(postgresql_url, tmp_path, lease_seconds=30) as scene:
        # All are in flight before the first is answered, and for a while.
        agent = await scene.agent("together/1000")
        room = asyncio.Semaphore(8)

        async def pressed() -> str:
            async with room:
                job = await scene.job(agent, judged=False)
                await scene.container.executions.execute(ADMIN, Execute(job.id, wait_seconds=0))
                return job.id

        left = set(await asyncio.gather(*(pressed() for _ in range(1000))))
        # They wait in the database; one server claims them all.
        process = await scene.server()
        largest = 0
        async with asyncio.timeout(120):
            while left:
                await asyncio.sleep(0.5)
                largest = max(largest, psutil.Process(process.pid).memory_info().rss)
                found = await scene.container.jobs.get_many(ADMIN, sorted(left))
                left -= {job.id for job in found if job is not None and job.status is JobStatus.COMPLETED}
        assert max(scene.sent().values()) == 1
        assert await scene.problems() == []
        assert largest < 200e6, f"{largest / 1e6:.0f} MB"


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
    survivor = await scene.survivor()
    try:
        failure = await die_at(scene, point, survivor)
    except AssertionError as error:
        return [str(error)]
    return [*([failure] if failure else []), *await scene.problems()]


@pytest.mark.parametrize("mutant", MUTANTS)
async def test_the_harness_finds_each_fault(mutant: str, postgresql_url: str, tmp_path: Path) -> None:
    async with stage(postgresql_url, tmp_path, mutant=mutant) as scene:
        assert await symptoms(scene, mutant) != []
