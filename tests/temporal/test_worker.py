"""A worker between its steps, and one that Temporal has lost sight of."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from app.container import Wiring, open_container
from db import executions as execution_rows
from db.records import Execution, ExecutionOutcome, ExecutionState, JsonValue
from services.ports import AgentRequest, Delivery
from services.runners import temporal as runner
from services.runners.cluster import Cluster
from services.runners.temporal_workflow import CALL_AGENT
from tests.agents import LOOPBACK
from tests.fakes import FakeExecutor, FakeValidator
from tests.services.conftest import ADMIN, NEEDS_JUDGEMENT, QUICK_RETRIES, House, PlainSecrets
from tests.temporal_server import TemporalServer

URL = "http://127.0.0.1:9/"
# Also how long Temporal waits for a heartbeat.
LEASE_SECONDS = 3.0
OpenHouse = Callable[..., AbstractAsyncContextManager[House]]


@pytest.fixture
def executor() -> FakeExecutor:
    return FakeExecutor()


@pytest.fixture
def open_house(temporal: TemporalServer, postgresql_url: str, executor: FakeExecutor) -> OpenHouse:
    wiring = Wiring(
        postgresql_url,
        PlainSecrets(),
        allowed_networks=LOOPBACK,
        retry=QUICK_RETRIES,
        drain_seconds=0,
        lease_seconds=LEASE_SECONDS,
        extra_executors=[("fake", executor)],
        validator=FakeValidator(),
        temporal=Cluster(temporal.address, task_queue=postgresql_url.rpartition("/")[2].partition("?")[0]),
        is_worker=True,
    )

    @asynccontextmanager
    async def opened(**fields: Any) -> AsyncGenerator[House]:
        async with open_container(replace(wiring, **fields)) as container:
            yield House(container)

    return opened


async def started(house: House) -> Execution:
    job = await house.job(await house.agent(URL, executor="fake", idempotent=True), NEEDS_JUDGEMENT)
    execution = (await house.execute(job, wait_seconds=0)).execution
    assert execution is not None
    return execution


async def accepted(house: House, execution: Execution, seconds: float = 30) -> bool:
    found, _ = await house.container.executions.wait(execution.id, seconds)
    return found.outcome is ExecutionOutcome.ACCEPTED


class Held:
    """Holds a statement up until it may go on."""

    def __init__(self, statement: Callable[..., Any]) -> None:
        self._statement = statement
        self.has_come, self.may_go_on = asyncio.Event(), asyncio.Event()
        self.calls = 0

    async def __call__(self, *args: Any, **rest: Any) -> Any:
        self.calls += 1
        self.has_come.set()
        await self.may_go_on.wait()
        return await self._statement(*args, **rest)


@pytest.mark.parametrize("name", ["claim", "hand_back"])
async def test_a_worker_is_alive_and_keeps_its_lease_also_between_the_steps(
    open_house: OpenHouse, executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """While the database is slow for longer than a lease."""
    async with open_house() as house:
        held = Held(getattr(execution_rows, name))
        monkeypatch.setattr(execution_rows, name, held)
        execution = await started(house)
        await asyncio.wait_for(held.has_come.wait(), 20)
        await asyncio.sleep(2 * LEASE_SECONDS)
        assert held.calls == 1
        held.may_go_on.set()
        assert await accepted(house, execution)
        async with house.container.database.read() as tx:
            run = await execution_rows.run(tx, execution.id)
        assert run is not None
        assert run.takeovers == 0
        assert len(executor.deliveries) == 1
        assert await house.violations() == []


@pytest.mark.parametrize("name", ["claim", "hand_back"])
async def test_a_worker_that_stops_finishes_what_it_claims_or_hands_back(
    open_house: OpenHouse, executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    async with open_house(lease_seconds=60) as staying:
        staying.container.runner.stop_accepting()
        async with open_house(lease_seconds=60) as leaving:
            held = Held(getattr(execution_rows, name))
            monkeypatch.setattr(execution_rows, name, held)
            execution = await started(leaving)
            await asyncio.wait_for(held.has_come.wait(), 20)
            asyncio.get_running_loop().call_later(1, held.may_go_on.set)
        monkeypatch.undo()
        async with staying.container.database.read() as tx:
            standing = await execution_rows.standing(tx, execution.id)
        assert standing is not None
        assert standing.handed_over
    async with open_house(lease_seconds=60) as other:
        assert await accepted(other, execution, 20)
        assert len(executor.deliveries) == 1
        assert await other.violations() == []


async def test_a_worker_that_stops_begins_no_step(open_house: OpenHouse, executor: FakeExecutor) -> None:
    async with open_house(is_worker=False) as house:
        execution = await started(house)
        temporal = house.container.temporal
        assert temporal is not None
        temporal.stop_accepting()
        then = await temporal.call_agent(execution.id)
        assert then.step == CALL_AGENT
        assert then.wait_seconds > 0
        assert executor.deliveries == []
    async with open_house() as other:
        assert await accepted(other, execution)


async def test_a_worker_stops_in_time_though_temporal_has_lost_sight_of_its_step(
    open_house: OpenHouse, executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that is not seen any more goes on under its lease; who stops does not wait for it for ever."""
    beat, blinks = runner._beat, asyncio.Event()  # noqa: SLF001 - nothing else keeps Temporal from seeing it

    async def late(seconds: float) -> None:
        await blinks.wait()
        await beat(seconds)

    async def hangs(request: AgentRequest, delivery: Delivery) -> JsonValue:
        await asyncio.Event().wait()
        return None

    executor.outcomes[0] = hangs
    monkeypatch.setattr(runner, "_beat", late)
    async with open_house() as leaving:
        execution = await started(leaving)
        while not executor.deliveries:  # noqa: ASYNC110 - the fake rings no bell
            await asyncio.sleep(0.01)
        await asyncio.sleep(2 * LEASE_SECONDS)
        blinks.set()
        await asyncio.sleep(2 * LEASE_SECONDS)
        (found,) = await leaving.container.executions.get_many(ADMIN, [execution.id])
        assert found is not None
        assert found.state is ExecutionState.CALLING_AGENT
        began = time.monotonic()
    assert time.monotonic() - began < 15
    executor.outcomes[0] = {"ok": True}
    async with open_house() as staying:
        assert await accepted(staying, execution)
        assert await staying.violations() == []
