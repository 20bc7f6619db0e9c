"""Many at once, in one process and in several: one execution, one call, no more than may be."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from db import agents as agent_rows
from db import executions as execution_rows
from db import jobs as job_rows
from db.records import ExecutionOutcome, ExecutionState, Job, JobLogType, JobStatus
from db.session import Database, Transaction
from services.executions.requests import Execute, ExecuteResult
from services.ports import Agent as PortAgent
from services.ports import (
    AgentAnswer,
    AgentError,
    AgentRequest,
    AgentTroubleKind,
    Ask,
    Delivery,
    Finding,
    Previous,
    Reply,
    Report,
    Submission,
    ValidatorError,
    ValidatorTroubleKind,
    Verdict,
)
from services.ports import Job as PortJob
from services.refusals import ErrorCode
from tests.agents import Response, ScriptedAgent
from tests.fakes import FakeExecutor, FakeValidator
from tests.services.conftest import ADMIN, CLIENT, NEEDS_JUDGEMENT, House, OpenHouse

URL = "http://127.0.0.1:9/"


async def soon(holds: Callable[[], Any], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for is in a fake or a database
            await asyncio.sleep(0.01)


async def get(house: House, job: Job) -> Job:
    found = await house.container.jobs.get(ADMIN, job.id)
    assert found is not None
    return found


async def finished(house: House, job: Job, seconds: float = 30) -> Job:
    async with asyncio.timeout(seconds):
        while (found := await get(house, job)).status is JobStatus.IN_EXECUTION:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
    return found


async def outcome(house: House, job: Job) -> ExecutionOutcome | None:
    latest = (await get(house, job)).latest_execution_id
    (execution,) = await house.container.executions.get_many(ADMIN, [latest or ""])
    return None if execution is None else execution.outcome


class Crowd(FakeExecutor):
    """Counts how many calls are under way at once."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.present = self.most = 0
        self.calls = Counter[str]()

    async def send(self, request: AgentRequest, delivery: Delivery) -> AgentAnswer:
        self.present += 1
        self.most = max(self.most, self.present)
        self.calls[delivery.idempotency_key] += 1
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.present -= 1
        return AgentAnswer({"ok": True}, 200)


# --------------------------------------------------------------------------------------------------------- one process


async def test_fifty_presses_at_once_start_one_execution(house: House) -> None:
    async with ScriptedAgent(Response({"ok": True}, delay_seconds=0.2)) as scripted:
        job = await house.job(await house.agent(scripted.url))
        results = await asyncio.gather(*(house.execute(job, wait_seconds=0) for _ in range(50)))
        refused = Counter(result.user_errors[0].code for result in results if result.user_errors)
        assert refused == {ErrorCode.NOT_EXECUTABLE: 49}
        assert (await finished(house, job)).status is JobStatus.COMPLETED
        assert len(scripted.requests) == 1


async def test_fifty_presses_by_force_leave_one_live_and_end_the_others(open_house: OpenHouse) -> None:
    crowd = Crowd(0.3)
    async with open_house(extra_executors=[("crowd", crowd)]) as house:
        job = await house.job(await house.agent(URL, executor="crowd"))
        results = await asyncio.gather(
            *(house.execute(job, viewer=ADMIN, force=True, reason=f"{n}", wait_seconds=0) for n in range(20))
        )
        assert all(result.user_errors == () for result in results)
        assert (await finished(house, job)).status is JobStatus.COMPLETED
        assert sum(entry == "admin_action" for entry in await house.entries(job)) == 20
        assert house.container.runner.in_flight == 0
        assert await house.violations() == []


async def test_everything_at_once_on_one_job_leaves_it_whole(open_house: OpenHouse) -> None:
    validator = FakeValidator(Verdict.UNSURE, Verdict.PASS, Verdict.FAIL, Verdict.UNSURE)
    crowd = Crowd(0.01)
    async with open_house(validator=validator, extra_executors=[("crowd", crowd)], drain_seconds=5) as house:
        jobs, executions = house.container.jobs, house.container.executions
        agent = await house.agent(URL, executor="crowd")
        job = await house.job(agent, NEEDS_JUDGEMENT)

        async def press(n: int) -> object:
            await asyncio.sleep(0.002 * n)
            match n % 8:
                case 0 | 1:
                    return await executions.execute(CLIENT, Execute(job.id, 0))
                case 2:
                    return await executions.cancel(CLIENT, job.id, None, None)
                case 3:
                    return await executions.retry_validation(CLIENT, job.id, 0)
                case 4:
                    return await executions.execute(ADMIN, Execute(job.id, 0, force=True, reason="r"))
                case 5:
                    return await jobs.force_resubmission(ADMIN, job.id, "r")
                case 6:
                    return await jobs.force_complete(ADMIN, job.id, {"ok": n}, "r")
                case _:
                    return await jobs.assign(CLIENT, job.id, agent.id)

        await asyncio.gather(*(press(n) for n in range(80)))
        await finished(house, job)
        await soon(lambda: house.container.runner.in_flight == 0)
        assert await house.violations() == []


async def test_a_process_works_on_no_more_than_it_has_room_for(open_house: OpenHouse) -> None:
    crowd = Crowd(0.05)
    async with open_house(extra_executors=[("crowd", crowd)], executions_in_flight=3) as house:
        agent = await house.agent(URL, executor="crowd")
        jobs = [await house.job(agent) for _ in range(12)]
        await asyncio.gather(*(house.execute(job) for job in jobs))
        assert [(await get(house, job)).status for job in jobs] == [JobStatus.COMPLETED] * 12
        assert crowd.most <= 3


async def test_a_full_queue_refuses_and_changes_nothing(open_house: OpenHouse) -> None:
    async with open_house(executions_queued=2, executions_in_flight=0) as house, ScriptedAgent() as scripted:
        agent = await house.agent(scripted.url)
        jobs = [await house.job(agent) for _ in range(4)]
        results = [await house.execute(job, wait_seconds=0, idempotency_key=job.id) for job in jobs]
        codes = [result.user_errors[0].code if result.user_errors else None for result in results]
        assert codes == [None, None, ErrorCode.OVERLOADED, ErrorCode.OVERLOADED]
        for job in jobs[2:]:
            assert await get(house, job) == job
        forced = await house.execute(jobs[3], viewer=ADMIN, force=True, reason="r", wait_seconds=0)
        assert forced.user_errors[0].code is ErrorCode.OVERLOADED
        # Nor is a running one ended for one that cannot be queued.
        running = await get(house, jobs[0])
        await house.execute(jobs[0], viewer=ADMIN, force=True, reason="r", wait_seconds=0)
        assert (await get(house, jobs[0])).status is running.status
        await house.container.executions.cancel(CLIENT, jobs[1].id, None, None)
        again = await house.execute(jobs[2], wait_seconds=0, idempotency_key=jobs[2].id)
        assert (again.replayed, again.user_errors) == (False, ())


async def test_one_busy_agent_fills_the_queue_although_the_process_has_room(open_house: OpenHouse) -> None:
    async with open_house(executions_queued=2) as house, ScriptedAgent(Response(hangs=True)) as scripted:
        agent = await house.agent(scripted.url, max_concurrent_executions=1)
        first = await house.execute(await house.job(agent), wait_seconds=0)
        assert first.user_errors == ()
        await soon(lambda: scripted.requests)
        results = [await house.execute(await house.job(agent), wait_seconds=0) for _ in range(4)]
        codes = [result.user_errors[0].code if result.user_errors else None for result in results]
        assert codes == [None, None, ErrorCode.OVERLOADED, ErrorCode.OVERLOADED]
        assert house.container.runner.in_flight == 1  # no room was kept for what was refused or queued
        assert await house.violations() == []


class Preparing(FakeExecutor):
    """Says when it prepares a request, and waits to be told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.prepares, self.goes_on = asyncio.Event(), asyncio.Event()

    async def prepare(self, job: PortJob, agent: PortAgent, previous: Previous | None) -> AgentRequest:
        self.prepares.set()
        await self.goes_on.wait()
        return await super().prepare(job, agent, previous)


Meanwhile = Callable[[House, Transaction, Job], Awaitable[object]]


async def nothing(house: House, tx: Transaction, job: Job) -> None:
    del house, tx, job


async def disable(house: House, tx: Transaction, job: Job) -> None:
    assert await agent_rows.change(tx, job.agent_id or "", {"enabled": False})


async def change_secret(house: House, tx: Transaction, job: Job) -> None:
    secret = house.container.executions.steps.secrets.encrypt("another")
    assert await agent_rows.change(tx, job.agent_id or "", {"secret": secret})


async def cancel(house: House, tx: Transaction, job: Job) -> None:
    run = await execution_rows.live_of_job(tx, job.id)
    assert run is not None
    settling = house.container.executions.settling
    await settling.end_from_outside(tx, job, run, ExecutionOutcome.CANCELLED, CLIENT.actor, "Cancelled")


async def pressed(house: House, executor: Preparing) -> tuple[Job, asyncio.Task[ExecuteResult]]:
    """A job whose execution is just preparing its request."""
    job = await house.job(await house.agent(URL, executor="fake", secret="one"))
    pressing = asyncio.create_task(house.execute(job))
    await executor.prepares.wait()
    return job, pressing


@pytest.mark.parametrize(
    ("meanwhile", "outcome", "sent"),
    [
        (nothing, ExecutionOutcome.ACCEPTED, ["one"]),
        (disable, ExecutionOutcome.AGENT_FAILED, []),
        (change_secret, ExecutionOutcome.ACCEPTED, ["another"]),
        (cancel, ExecutionOutcome.CANCELLED, []),
    ],
)
async def test_a_request_that_waits_for_who_has_the_job_is_of_what_it_then_finds(
    meanwhile: Meanwhile, outcome: ExecutionOutcome, sent: list[str], open_house: OpenHouse
) -> None:
    executor = Preparing()
    async with open_house(extra_executors=[("fake", executor)]) as house:
        job, pressing = await pressed(house, executor)
        async with house.container.database.begin() as tx:
            locked = await job_rows.lock(tx, job.id)
            assert locked is not None
            executor.goes_on.set()
            # It asks, and finds that the job is somebody's.
            await asyncio.sleep(0.1)
            await meanwhile(house, tx, locked)
            assert executor.deliveries == []
        result = await pressing
        assert result.execution is not None
        assert result.execution.outcome is outcome
        assert [delivery.secret for _, delivery in executor.deliveries] == sent
        requests = [entry for entry in await house.entries(job) if entry == "agent_request"]
        assert len(requests) == len(sent)
        assert await house.violations() == []


@pytest.mark.parametrize(("meanwhile", "sent"), [(disable, []), (change_secret, ["another"])])
async def test_an_agent_that_was_changed_since_the_execution_was_made_is_called_as_it_is(
    meanwhile: Meanwhile, sent: list[str], open_house: OpenHouse
) -> None:
    executor = Preparing()
    async with open_house(extra_executors=[("fake", executor)]) as house:
        job, pressing = await pressed(house, executor)
        async with house.container.database.begin() as tx:
            await meanwhile(house, tx, job)
        executor.goes_on.set()
        await pressing
        assert [delivery.secret for _, delivery in executor.deliveries] == sent
        assert await house.violations() == []


async def test_a_commit_that_fails_keeps_no_room(open_house: OpenHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_house() as house, ScriptedAgent() as scripted:
        job = await house.job(await house.agent(scripted.url))
        original = Database.begin

        def failing(self: Database) -> Any:
            return FailsAtTheEnd(original(self))

        monkeypatch.setattr(Database, "begin", failing)
        with pytest.raises(ConnectionError):
            await house.execute(job, wait_seconds=0)
        monkeypatch.undo()
        assert house.container.runner.in_flight == 0
        result = await house.execute(job)
        assert result.job is not None
        assert result.job.status is JobStatus.COMPLETED


class FailsAtTheEnd:
    """A transaction whose commit fails."""

    def __init__(self, transaction: Any) -> None:
        self._transaction = transaction

    async def __aenter__(self) -> Any:
        return await self._transaction.__aenter__()

    async def __aexit__(self, *error: object) -> None:
        fault = ConnectionError("gone")
        await self._transaction.__aexit__(ConnectionError, fault, None)
        raise fault


# --------------------------------------------------------------------------------------------------- several processes


async def test_an_agent_slower_than_the_lease_is_called_once(open_house: OpenHouse) -> None:
    crowd = Crowd(5)
    async with AsyncExitStack() as stack:
        houses = [
            await stack.enter_async_context(open_house(extra_executors=[("crowd", crowd)], lease_seconds=2))
            for _ in range(2)
        ]
        job = await houses[0].job(await houses[0].agent(URL, executor="crowd"))
        result = await houses[1].execute(job)
        assert result.execution is not None
        assert result.execution.outcome is ExecutionOutcome.ACCEPTED
        assert crowd.calls.total() == 1
        assert await houses[0].violations() == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_call_is_cut_short_at_once_that_is_ended_in_another_process(open_house: OpenHouse) -> None:
    crowd = Crowd(3600)
    async with AsyncExitStack() as stack:
        here, there = [
            await stack.enter_async_context(open_house(extra_executors=[("crowd", crowd)], lease_seconds=600))
            for _ in range(2)
        ]
        agent = await here.agent(URL, executor="crowd")
        ended, other = await here.job(agent), await here.job(agent)
        for job in (ended, other):
            await here.execute(job, wait_seconds=0)
        await soon(lambda: crowd.present == 2)
        await there.container.executions.cancel(CLIENT, ended.id, None, None)
        await soon(lambda: crowd.present == 1 and here.container.runner.in_flight == 1)
        assert (await get(there, other)).status is JobStatus.IN_EXECUTION
        await there.container.executions.cancel(CLIENT, other.id, None, None)
        assert await there.violations() == []


@pytest.mark.parametrize("idempotent", [True, False])
async def test_what_a_dead_process_left_is_taken_over_when_its_lease_expires(
    open_house: OpenHouse, *, idempotent: bool
) -> None:
    crowd = Crowd(0)
    dead = Crowd(3600)
    async with open_house(extra_executors=[("crowd", dead)], lease_seconds=1) as house:
        job = await house.job(await house.agent(URL, executor="crowd", idempotent=idempotent))
        await house.execute(job, wait_seconds=0)
        await soon(lambda: dead.present)
        die(house)
        async with open_house(extra_executors=[("crowd", crowd)]) as other:
            after = await finished(other, job)
            if idempotent:
                assert (after.status, await outcome(other, job)) == (JobStatus.COMPLETED, ExecutionOutcome.ACCEPTED)
                assert crowd.calls == dead.calls  # the same key
            else:
                assert await outcome(other, job) is ExecutionOutcome.AGENT_OUTCOME_UNKNOWN
                assert crowd.calls.total() == 0
            assert await other.violations() == []


def die(house: House) -> None:
    """As a SIGKILL would leave it: nothing is released, nothing is renewed, what runs stops."""
    runner = house.container.runner
    runner.stop_accepting()
    runner._leases.owner = "nobody"  # noqa: SLF001 - so that closing the house releases nothing
    for running in runner._leases._held.values():  # noqa: SLF001 - its tasks are nobody else's
        running.task.cancel()


async def test_an_agents_limit_holds_across_processes(open_house: OpenHouse) -> None:
    crowd = Crowd(0.05)
    async with AsyncExitStack() as stack:
        houses = [await stack.enter_async_context(open_house(extra_executors=[("crowd", crowd)])) for _ in range(2)]
        agent = await houses[0].agent(URL, executor="crowd", max_concurrent_executions=2)
        jobs = [await houses[0].job(agent) for _ in range(14)]
        await asyncio.gather(*(houses[n % 2].execute(job) for n, job in enumerate(jobs)))
        assert {(await get(houses[0], job)).status for job in jobs} == {JobStatus.COMPLETED}
        assert crowd.most <= 2
        assert set(crowd.calls.values()) == {1}


async def test_what_is_cancelled_elsewhere_is_dropped_here(open_house: OpenHouse) -> None:
    crowd = Crowd(1.5)
    async with AsyncExitStack() as stack:
        houses = [await stack.enter_async_context(open_house(extra_executors=[("crowd", crowd)])) for _ in range(2)]
        # It does not hear of it, as on SQLite, and before its lease is to be renewed the answer is there.
        vars(houses[0].container.bus)["on_heard"] = None
        job = await houses[0].job(await houses[0].agent(URL, executor="crowd"))
        await houses[0].execute(job, wait_seconds=0)
        await soon(lambda: crowd.present)
        await houses[1].container.executions.cancel(CLIENT, job.id, None, None)
        await soon(lambda: houses[0].container.runner.in_flight == 0)
        assert houses[0].container.metrics.registry.get_sample_value("signoff_dropped_answers_total") == 1
        assert (await get(houses[0], job)).status is JobStatus.ASSIGNED
        assert await houses[0].violations() == []


async def test_a_process_that_drains_leaves_its_work_to_another_at_once(open_house: OpenHouse) -> None:
    """Its leases would run for another minute."""
    slow, quick = Crowd(3600), Crowd(0)
    async with open_house(extra_executors=[("crowd", quick)], executions_in_flight=5) as other:
        async with open_house(extra_executors=[("crowd", slow)], lease_seconds=60, drain_seconds=0.05) as house:
            job = await house.job(await house.agent(URL, executor="crowd", idempotent=True))
            await house.execute(job, wait_seconds=0)
            await soon(lambda: slow.present)
        after = await finished(other, job, seconds=20)
        assert after.status is JobStatus.COMPLETED
        assert (await other.log(job))[-1].type is JobLogType.STATUS_CHANGE
        assert await other.violations() == []


async def test_a_process_that_drains_lets_finish_what_is_nearly_done(open_house: OpenHouse) -> None:
    crowd = Crowd(0.3)
    async with open_house() as other:
        async with open_house(extra_executors=[("crowd", crowd)], drain_seconds=5) as house:
            job = await house.job(await house.agent(URL, executor="crowd"))
            await house.execute(job, wait_seconds=0)
            await soon(lambda: crowd.present)
        assert (await get(other, job)).status is JobStatus.COMPLETED


# ------------------------------------------------------------------------------------------------------------ plug-ins


class Broken(FakeExecutor):
    """An executor with a bug in its preparation."""

    async def prepare(self, job: PortJob, agent: PortAgent, previous: Previous | None) -> AgentRequest:
        message = "input"
        raise KeyError(message)


async def test_an_executor_that_cannot_prepare_ends_it_at_once_and_again(open_house: OpenHouse) -> None:
    async with open_house(extra_executors=[("broken", Broken())]) as house:
        job = await house.job(await house.agent(URL, executor="broken"))
        for _ in range(2):
            result = await house.execute(job, wait_seconds=5)
            assert result.execution is not None
            assert result.execution.outcome is ExecutionOutcome.AGENT_FAILED
        assert "agent_request" not in await house.entries(job)
        assert await house.violations() == []


async def test_an_executor_that_breaks_after_an_unanswered_request_does_not_lock_the_job(
    open_house: OpenHouse,
) -> None:
    unknown = AgentError(AgentTroubleKind.UNKNOWN, "cut", "The connection was cut.")
    executor = FakeExecutor(unknown)
    async with open_house(extra_executors=[("fake", executor)]) as house:
        job = await house.job(await house.agent(URL, executor="fake"))
        first = await house.execute(job)
        assert first.execution is not None
        assert first.execution.outcome is ExecutionOutcome.AGENT_OUTCOME_UNKNOWN
        executor.prepare = Broken().prepare  # type: ignore[method-assign]
        again = await house.execute(job, wait_seconds=5)
        assert again.execution is not None
        assert again.execution.outcome is ExecutionOutcome.AGENT_FAILED
        assert await house.violations() == []


@pytest.mark.parametrize("answer", [None, float("nan"), {1, 2}, b"bytes", 2**70, "\ud800"], ids=repr)
async def test_an_executors_answer_that_cannot_be_kept_is_no_answer(open_house: OpenHouse, answer: Any) -> None:
    async with open_house(extra_executors=[("fake", FakeExecutor(answer))]) as house:
        job = await house.job(await house.agent(URL, executor="fake"))
        result = await house.execute(job, wait_seconds=5)
        assert result.execution is not None
        assert result.execution.outcome is ExecutionOutcome.OUTPUT_INVALID
        assert await house.violations() == []


class Odd:
    """A validator that does one thing wrong."""

    name = "odd"

    def __init__(self, *, reply: Any = None, rationale: Any = "r", twice: bool = False, swallows: bool = False) -> None:
        self.reply, self.rationale, self.twice, self.swallows = reply, rationale, twice, swallows

    async def validate(self, submission: Submission, ask: Ask) -> Report:
        async def send() -> Reply:
            if self.swallows:
                raise ValidatorError(ValidatorTroubleKind.INVALID, "It is no verdict.")
            return Reply(self.reply)

        try:
            await ask({"a": 1}, send, lambda reply: None)
        except ValidatorError:
            if not self.swallows:
                raise
        finding = Finding(submission.criteria[0].id, Verdict.PASS, self.rationale, (), self.name)
        return Report((finding, finding) if self.twice else (finding,))


ODD = {
    "a reply that is no JSON": (Odd(reply={1, 2}), ExecutionOutcome.UNDECIDED),
    "a reply with a lone surrogate": (Odd(reply="\ud800"), ExecutionOutcome.UNDECIDED),
    "a rationale that is no text": (Odd(rationale=object()), ExecutionOutcome.UNDECIDED),
    "a rationale with U+0000": (Odd(rationale="a\0b"), ExecutionOutcome.UNDECIDED),
    "a criterion decided twice": (Odd(twice=True), ExecutionOutcome.UNDECIDED),
    "a verdict after trouble that it got over": (Odd(swallows=True), ExecutionOutcome.ACCEPTED),
}


@pytest.mark.parametrize(("validator", "wanted"), ODD.values(), ids=ODD.keys())
async def test_a_validator_with_a_bug_leaves_the_execution_whole(
    open_house: OpenHouse, validator: Odd, wanted: ExecutionOutcome
) -> None:
    async with open_house(validator=validator, extra_executors=[("fake", FakeExecutor())]) as house:
        job = await house.job(await house.agent(URL, executor="fake"), NEEDS_JUDGEMENT)
        result = await house.execute(job, wait_seconds=5)
        assert result.execution is not None
        assert result.execution.state is ExecutionState.FINISHED
        assert result.execution.outcome is wanted
        assert await house.violations() == []
