"""A house whose agent and validator do what the test says, so that a job gets into any situation at once."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from db.records import Agent, Execution, ExecutionState, Job, JobStatus, JsonValue
from services.executions.requests import Execute
from services.jobs import JobEdit, JobResult
from services.lifecycle import JobAction
from services.ports import (
    AgentError,
    AgentRequest,
    AgentTroubleKind,
    Ask,
    Delivery,
    Finding,
    Reply,
    Report,
    Submission,
    ValidatorError,
    ValidatorTroubleKind,
    Verdict,
)
from services.viewer import Viewer
from tests.fakes import FakeExecutor
from tests.services.conftest import ADMIN, CLIENT, NEEDS_JUDGEMENT, House, OpenHouse

REASON = "The customer called."
UNREACHED = "http://127.0.0.1:9/"


class Judge:
    """Decides every criterion as its `says`: a verdict, "away" or "hangs"."""

    name = "judge"

    def __init__(self) -> None:
        self.says = "pass"
        self.calls = 0

    async def validate(self, submission: Submission, ask: Ask) -> Report:
        says = self.says

        async def send() -> Reply:
            self.calls += 1
            if says == "hangs":
                await asyncio.Event().wait()
            if says == "away":
                raise ValidatorError(ValidatorTroubleKind.UNAVAILABLE, "It is away.", retry_after_seconds=30)
            return Reply({"verdict": says})

        def read(reply: Reply) -> Report:
            return Report(
                tuple(
                    Finding(criterion.id, Verdict(says), "As said.", (), self.name) for criterion in submission.criteria
                )
            )

        # Each time another request, so that nothing is answered from the journal.
        return await ask({"call": self.calls}, send, read)


@dataclass
class Bench:
    """`agent_does`: ok, null, fails or hangs."""

    house: House
    judge: Judge
    agent_does: str = "ok"
    agent: Agent = field(init=False)
    other_agent: Agent = field(init=False)
    disabled_agent: Agent = field(init=False)
    sent: int = 0

    async def answer(self, request: AgentRequest, delivery: Delivery) -> JsonValue:
        self.sent += 1
        if self.agent_does == "hangs":
            await asyncio.Event().wait()
        if self.agent_does == "fails":
            raise AgentError(AgentTroubleKind.FAILED, "http_500", "It failed.", http_status=500)
        return None if self.agent_does == "null" else {"ok": True, "n": self.sent}

    async def get(self, job: Job) -> Job:
        found = await self.house.container.jobs.get(ADMIN, job.id)
        assert found is not None
        return found

    async def latest(self, job: Job) -> Execution | None:
        job = await self.get(job)
        (execution,) = await self.house.container.executions.get_many(ADMIN, [job.latest_execution_id or ""])
        return execution

    async def until(self, job: Job, state: ExecutionState) -> Job:
        async with asyncio.timeout(30):
            while (execution := await self.latest(job)) is None or execution.state is not state:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        return await self.get(job)

    async def executed(self, job: Job, *, agent: str = "ok", judge: str = "pass", **fields: Any) -> Job:
        """Execute and wait until that has ended."""
        self.agent_does, self.judge.says = agent, judge
        result = await self.house.execute(job, **fields)
        assert result.user_errors == ()
        return await self.until(job, ExecutionState.FINISHED)

    async def running(
        self, job: Job, state: ExecutionState, *, agent: str = "ok", judge: str = "hangs", **fields: Any
    ) -> Job:
        """Execute and wait until it stands there."""
        self.agent_does, self.judge.says = agent, judge
        result = await self.house.execute(job, wait_seconds=0, **fields)
        assert result.user_errors == ()
        return await self.until(job, state)

    async def do(self, action: JobAction, viewer: Viewer, job: Job) -> JobResult:
        """The mutation of an action, with arguments that are all right."""
        jobs, executions = self.house.container.jobs, self.house.container.executions
        if action in {JobAction.EXECUTE, JobAction.FORCE_EXECUTE}:
            force = action is JobAction.FORCE_EXECUTE
            command = Execute(job.id, wait_seconds=0, force=force, reason=REASON if force else None)
            executed = await executions.execute(viewer, command)
            return JobResult(executed.job, executed.user_errors)
        if action is JobAction.RETRY_VALIDATION:
            retried = await executions.retry_validation(viewer, job.id, 0)
            return JobResult(retried.job, retried.user_errors)
        others: Mapping[JobAction, Callable[[], Awaitable[JobResult]]] = {
            JobAction.EDIT: lambda: jobs.update(viewer, job.id, JobEdit(job.revision, title="Changed")),
            JobAction.ASSIGN: lambda: jobs.assign(viewer, job.id, self.other_agent.id),
            JobAction.CANCEL: lambda: executions.cancel(viewer, job.id, None, None),
            JobAction.FORCE_ASSIGN: lambda: jobs.force_assign(viewer, job.id, self.other_agent.id, REASON),
            JobAction.FORCE_COMPLETE: lambda: jobs.force_complete(viewer, job.id, {"by": "hand"}, REASON),
            JobAction.FORCE_RESUBMISSION: lambda: jobs.force_resubmission(viewer, job.id, REASON),
        }
        return await others[action]()


@asynccontextmanager
async def open_bench(open_house: OpenHouse, **fields: Any) -> AsyncGenerator[Bench]:
    """Open a house with a bench; what must hold in the database is looked at when it is left."""
    judge = Judge()
    executor = FakeExecutor()
    wiring = {"validator": judge, "extra_executors": [("bench", executor)], "drain_seconds": 0, **fields}
    async with open_house(**wiring) as house:
        bench = Bench(house, judge)
        executor.outcomes[0] = bench.answer
        for name in ("agent", "other_agent", "disabled_agent"):
            made = await house.agent(UNREACHED, executor="bench", max_concurrent_executions=1000)
            setattr(bench, name, made)
        await house.container.agents.update(ADMIN, bench.disabled_agent.id, {"enabled": False})
        yield bench
        assert await house.violations() == []


Situation: TypeAlias = Callable[[Bench], Awaitable[Job]]


async def _new(bench: Bench, *, assigned: bool = True) -> Job:
    return await bench.house.job(bench.agent if assigned else None, NEEDS_JUDGEMENT, viewer=CLIENT)


async def pending(bench: Bench) -> Job:
    return await _new(bench, assigned=False)


async def assigned(bench: Bench) -> Job:
    return await _new(bench)


async def assigned_to_a_disabled_agent(bench: Bench) -> Job:
    agents, job = bench.house.container.agents, await _new(bench, assigned=False)
    await agents.update(ADMIN, bench.disabled_agent.id, {"enabled": True})
    result = await bench.house.container.jobs.assign(CLIENT, job.id, bench.disabled_agent.id)
    await agents.update(ADMIN, bench.disabled_agent.id, {"enabled": False})
    assert result.job is not None
    return result.job


async def back_after_a_failure(bench: Bench) -> Job:
    return await bench.executed(await _new(bench), agent="fails")


async def calling_the_agent(bench: Bench) -> Job:
    return await bench.running(await _new(bench), ExecutionState.CALLING_AGENT, agent="hangs")


async def validating(bench: Bench) -> Job:
    calls = bench.judge.calls
    job = await bench.running(await _new(bench), ExecutionState.VALIDATING)
    async with asyncio.timeout(30):
        while bench.judge.calls == calls:  # noqa: ASYNC110 - the database and the judge ring no bell
            await asyncio.sleep(0.005)
    return job


async def waiting(bench: Bench) -> Job:
    return await bench.running(await _new(bench), ExecutionState.WAITING_RETRY, judge="away")


async def rejected(bench: Bench) -> Job:
    return await bench.executed(await _new(bench), judge="fail")


async def unusable(bench: Bench) -> Job:
    return await bench.executed(await _new(bench), agent="null")


async def undecided(bench: Bench) -> Job:
    return await bench.executed(await _new(bench), judge="unsure")


async def undecided_and_edited(bench: Bench) -> Job:
    job = await undecided(bench)
    result = await bench.do(JobAction.EDIT, CLIENT, job)
    assert result.job is not None
    return result.job


async def completed(bench: Bench) -> Job:
    return await bench.executed(await _new(bench))


async def completed_and_forced_again(bench: Bench) -> Job:
    job = await completed(bench)
    return await bench.running(
        job, ExecutionState.CALLING_AGENT, agent="hangs", viewer=ADMIN, force=True, reason=REASON
    )


_EDITS = {JobAction.EDIT, JobAction.ASSIGN}
_RUN = {JobAction.EXECUTE}
_AGAIN = {JobAction.RETRY_VALIDATION}
_STOP = {JobAction.CANCEL}
OVERRIDES = {JobAction.FORCE_ASSIGN, JobAction.FORCE_COMPLETE, JobAction.FORCE_RESUBMISSION}
FORCED = OVERRIDES | {JobAction.FORCE_EXECUTE}

# situation -> the status, what its owner may do in it, and what an admin may do besides.
SITUATIONS: Mapping[Situation, tuple[JobStatus, set[JobAction], set[JobAction]]] = {
    pending: (JobStatus.PENDING, _EDITS, OVERRIDES),
    assigned: (JobStatus.ASSIGNED, _EDITS | _RUN, FORCED),
    assigned_to_a_disabled_agent: (JobStatus.ASSIGNED, _EDITS, OVERRIDES),
    back_after_a_failure: (JobStatus.ASSIGNED, _EDITS | _RUN, FORCED),
    calling_the_agent: (JobStatus.IN_EXECUTION, _STOP, FORCED),
    validating: (JobStatus.IN_EXECUTION, _STOP | _AGAIN, FORCED),
    waiting: (JobStatus.IN_EXECUTION, _STOP | _AGAIN, FORCED),
    rejected: (JobStatus.RESUBMISSION_REQUIRED, _EDITS | _RUN, FORCED),
    unusable: (JobStatus.RESUBMISSION_REQUIRED, _EDITS | _RUN, FORCED),
    undecided: (JobStatus.RESUBMISSION_REQUIRED, _EDITS | _RUN | _AGAIN, FORCED),
    undecided_and_edited: (JobStatus.RESUBMISSION_REQUIRED, _EDITS | _RUN, FORCED),
    completed: (JobStatus.COMPLETED, set(), FORCED),
    completed_and_forced_again: (JobStatus.IN_EXECUTION, _STOP, FORCED),
}
