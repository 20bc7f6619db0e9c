"""What an execution costs this process, counted in calls and not timed: see tests/schema/test_budget.py."""

import gc
from collections.abc import AsyncGenerator

import pytest

from db.records import Job, JobStatus
from tests.calls import Calls
from tests.fakes import FakeExecutor, FakeValidator
from tests.services.conftest import NEEDS_JUDGEMENT, House, OpenHouse

# 2,490 to 2,630 when this was last counted; with a little to spare for another Python.
BUDGET = 2_700
TOGETHER = 10
# In each second or third one the house looks for work beside, and on a busy machine in most.
MOST_TRIES = 40

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
async def house(open_house: OpenHouse) -> AsyncGenerator[House]:
    """With an instant agent and an instant validator, all that is made once made."""
    async with open_house(extra_executors=[("fake", FakeExecutor())], validator=FakeValidator()) as house:
        await execute(await jobs(house, 2), house)
        yield house


async def jobs(house: House, count: int) -> list[Job]:
    agent = await house.agent("http://127.0.0.1:9/", executor="fake")
    return [await house.job(agent, NEEDS_JUDGEMENT) for _ in range(count)]


async def execute(jobs: list[Job], house: House) -> None:
    for job in jobs:
        result = await house.execute(job)
        assert result.job is not None
        assert result.job.status is JobStatus.COMPLETED


async def test_an_execution_takes_no_more_calls_than_it_did(house: House) -> None:
    counts = list[int]()
    for job in await jobs(house, MOST_TRIES):
        with Calls() as calls:
            await execute([job], house)
        counts.append(calls.counted)
        if calls.counted <= BUDGET:
            return
    raise AssertionError(counts)


async def test_an_execution_leaves_nothing_that_only_a_collection_finds(house: House) -> None:
    ready = await jobs(house, TOGETHER)
    gc.collect()
    gc.disable()
    try:
        await execute(ready, house)
        assert gc.collect() < TOGETHER
    finally:
        gc.enable()
