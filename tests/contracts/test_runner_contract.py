"""What every runner must do with the executions that are its own. An adapter joins by its name in the fixture."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from app.container import Wiring, open_container
from db.records import Agent, Execution, ExecutionOutcome, ExecutionState, Job, JobStatus, JsonValue
from services.executions.validation import RetryPolicy
from services.ports import AgentRequest, Delivery, ValidatorError, ValidatorTroubleKind, Verdict
from services.runners.cluster import Cluster
from tests.agents import LOOPBACK
from tests.fakes import FakeExecutor, FakeValidator
from tests.services.conftest import ADMIN, CLIENT, NEEDS_JUDGEMENT, QUICK_RETRIES, House, PlainSecrets
from tests.temporal_server import TemporalServer

URL = "http://127.0.0.1:9/"
AWAY = ValidatorError(ValidatorTroubleKind.UNAVAILABLE, "It is away.")
PATIENCE = 30.0

OpenHouse = Callable[..., AbstractAsyncContextManager[House]]


@pytest.fixture(params=["in_process", "temporal"])
def wiring(request: pytest.FixtureRequest, postgresql_url: str) -> Wiring:
    """A process that executes and runs what is executed."""
    common = Wiring(
        postgresql_url,
        PlainSecrets(),
        allowed_networks=LOOPBACK,
        retry=QUICK_RETRIES,
        # What the tests leave hanging is what they are about.
        drain_seconds=0,
        lease_seconds=3,
    )
    if request.param == "in_process":
        return common
    server: TemporalServer = request.getfixturevalue("temporal")
    queue = postgresql_url.rpartition("/")[2].partition("?")[0]  # nobody else's
    return dataclasses.replace(common, temporal=Cluster(server.address, task_queue=queue), is_worker=True)


@pytest.fixture
def open_house(wiring: Wiring) -> OpenHouse:
    @asynccontextmanager
    async def opened(executor: FakeExecutor, validator: FakeValidator, **more: Any) -> AsyncGenerator[House]:
        fields = {"extra_executors": [("fake", executor)], "validator": validator, **more}
        async with open_container(dataclasses.replace(wiring, **fields)) as container:
            yield House(container)

    return opened


@pytest.fixture
def executor() -> FakeExecutor:
    return FakeExecutor()


@pytest.fixture
def validator() -> FakeValidator:
    return FakeValidator()


@pytest.fixture
async def house(open_house: OpenHouse, executor: FakeExecutor, validator: FakeValidator) -> AsyncGenerator[House]:
    async with open_house(executor, validator) as house:
        yield house
        assert await house.violations() == []


async def agent(house: House, **fields: Any) -> Agent:
    return await house.agent(URL, executor="fake", **fields)


async def started(house: House, job: Job) -> Execution:
    result = await house.execute(job, wait_seconds=0)
    assert result.execution is not None, result.user_errors
    return result.execution


async def finished(house: House, execution: Execution) -> Execution:
    found, _ = await house.container.executions.wait(execution.id, PATIENCE)
    assert found.state is ExecutionState.FINISHED, found
    return found


async def until(condition: Callable[[], Awaitable[bool]] | Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(0.01)


async def never(request: AgentRequest, delivery: Delivery) -> JsonValue:
    await asyncio.Event().wait()
    return None


async def test_what_is_executed_is_run_to_its_end(house: House, executor: FakeExecutor) -> None:
    job = await house.job(await agent(house), NEEDS_JUDGEMENT)

    execution = await finished(house, await started(house, job))

    assert execution.outcome is ExecutionOutcome.ACCEPTED
    assert len(executor.deliveries) == 1
    assert await house.entries(job) == [
        "status_change",
        "status_change",
        "status_change",
        "agent_request",
        "agent_response",
        "validator_request",
        "validator_response",
        "status_change",
    ]


async def test_what_finds_no_room_at_its_agent_is_run_once_there_is(house: House, executor: FakeExecutor) -> None:
    present = most = 0

    async def answer(request: AgentRequest, delivery: Delivery) -> JsonValue:
        nonlocal present, most
        present += 1
        most = max(most, present)
        await asyncio.sleep(0.02)
        present -= 1
        return {"ok": True}

    executor.outcomes[0] = answer
    narrow = await agent(house, max_concurrent_executions=1)
    jobs = [await house.job(narrow) for _ in range(4)]

    executions = await asyncio.gather(*[started(house, job) for job in jobs])
    ended = await asyncio.gather(*[finished(house, execution) for execution in executions])

    assert {execution.outcome for execution in ended} == {ExecutionOutcome.ACCEPTED}
    assert most == 1
    assert len({delivery.idempotency_key for _, delivery in executor.deliveries}) == 4


async def test_a_validator_in_trouble_is_asked_again_by_itself(house: House, validator: FakeValidator) -> None:
    validator.outcomes.extendleft((AWAY, AWAY))
    job = await house.job(await agent(house), NEEDS_JUDGEMENT)

    execution = await finished(house, await started(house, job))

    assert execution.outcome is ExecutionOutcome.ACCEPTED
    assert len(validator.submissions) == 3


async def test_a_person_ends_the_wait_for_a_validator(
    open_house: OpenHouse, executor: FakeExecutor, validator: FakeValidator
) -> None:
    validator.outcomes.appendleft(AWAY)
    patient = RetryPolicy(deadline_seconds=3600, first_seconds=1000, longest_seconds=1000)
    async with open_house(executor, validator, retry=patient) as house:
        job = await house.job(await agent(house), NEEDS_JUDGEMENT)
        execution = await started(house, job)

        async def waits() -> bool:
            (found,) = await house.container.executions.get_many(ADMIN, [execution.id])
            return found is not None and found.state is ExecutionState.WAITING_RETRY

        await until(waits)
        # Whoever lets go of it may not have told its engine so yet.
        retried = await house.container.executions.retry_validation(CLIENT, job.id, PATIENCE)

        assert retried.execution is not None
        assert retried.execution.outcome is ExecutionOutcome.ACCEPTED
        assert len(executor.deliveries) == 1


async def test_an_answer_that_could_not_be_decided_is_validated_again(
    house: House, executor: FakeExecutor, validator: FakeValidator
) -> None:
    validator.outcomes.extendleft((Verdict.UNSURE,))
    job = await house.job(await agent(house), NEEDS_JUDGEMENT)
    undecided = await finished(house, await started(house, job))
    assert undecided.outcome is ExecutionOutcome.UNDECIDED

    again = await house.container.executions.retry_validation(CLIENT, job.id, PATIENCE)

    assert again.job is not None
    assert again.job.status is JobStatus.COMPLETED
    assert len(executor.deliveries) == 1


async def test_a_cancelled_execution_is_worked_on_no_longer(house: House, executor: FakeExecutor) -> None:
    stopped = asyncio.Event()

    async def hangs(request: AgentRequest, delivery: Delivery) -> JsonValue:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return None

    executor.outcomes[0] = hangs
    job = await house.job(await agent(house))
    execution = await started(house, job)
    await until(lambda: bool(executor.deliveries))

    await house.container.executions.cancel(CLIENT, job.id, execution.id, None)

    await asyncio.wait_for(stopped.wait(), PATIENCE)
    assert (await finished(house, execution)).outcome is ExecutionOutcome.CANCELLED
    await until(lambda: house.container.runner.in_flight == 0)


async def test_what_is_under_way_when_a_process_ends_has_time_to_finish(
    open_house: OpenHouse, executor: FakeExecutor, validator: FakeValidator
) -> None:
    may_answer = asyncio.Event()

    async def answers(request: AgentRequest, delivery: Delivery) -> JsonValue:
        await may_answer.wait()
        return {"ok": True}

    executor.outcomes[0] = answers
    async with open_house(executor, validator, drain_seconds=PATIENCE) as leaving:
        execution = await started(leaving, await leaving.job(await agent(leaving)))
        await until(lambda: bool(executor.deliveries))
        leaving.container.runner.stop_accepting()
        asyncio.get_running_loop().call_later(0.5, may_answer.set)
    async with open_house(executor, validator) as staying:
        assert (await finished(staying, execution)).outcome is ExecutionOutcome.ACCEPTED
    assert len(executor.deliveries) == 1


async def test_what_a_process_leaves_behind_another_one_finishes(
    open_house: OpenHouse, executor: FakeExecutor, validator: FakeValidator
) -> None:
    executor.outcomes[0] = never
    async with open_house(executor, validator) as leaving:
        idempotent = await agent(leaving, idempotent=True)
        job = await leaving.job(idempotent)
        execution = await started(leaving, job)
        await until(lambda: bool(executor.deliveries))
    executor.outcomes[0] = {"ok": True}

    async with open_house(executor, validator) as staying:
        assert (await finished(staying, execution)).outcome is ExecutionOutcome.ACCEPTED
        assert await staying.violations() == []
    assert len(executor.deliveries) == 2
    assert len({delivery.idempotency_key for _, delivery in executor.deliveries}) == 1


async def test_what_was_executed_while_nobody_could_run_it_is_run_later(
    open_house: OpenHouse, executor: FakeExecutor, validator: FakeValidator
) -> None:
    async with open_house(executor, validator, executions_in_flight=0, is_worker=False) as house:
        executions = [await started(house, await house.job(await agent(house))) for _ in range(3)]
    assert executor.deliveries == []

    async with open_house(executor, validator) as house:
        for execution in executions:
            assert (await finished(house, execution)).outcome is ExecutionOutcome.ACCEPTED
    assert len(executor.deliveries) == 3
