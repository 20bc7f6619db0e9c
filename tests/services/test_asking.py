"""What a validator asks beside its other asks, after trouble, or when its validation has come to its end here."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from db import executions as execution_rows
from db.records import ExecutionOutcome, ExecutionState, Job, JobLogStatus, JobLogType, JobStatus, Run
from services.executions.claims import LostError
from services.executions.validation import RetryPolicy
from services.ports import Ask, Finding, Reply, Report, Submission, ValidatorError, ValidatorTroubleKind, Verdict
from services.runners.in_process import InProcess
from tests.agents import ScriptedAgent
from tests.services.conftest import CLIENT, NEEDS_JUDGEMENT, House, OpenHouse

# Nobody comes back by himself before a test has looked.
LONG_WAITS = RetryPolicy(deadline_seconds=600, first_seconds=300, longest_seconds=300, slow_seconds=300)
SHORT_WAITS = RetryPolicy(deadline_seconds=600, first_seconds=0.05, longest_seconds=0.05, slow_seconds=0.05)
Heard = Callable[[], Awaitable[Reply]]


def away(kind: ValidatorTroubleKind = ValidatorTroubleKind.UNAVAILABLE, **rest: Any) -> ValidatorError:
    return ValidatorError(kind, "The first is away.", **rest)


async def answer() -> Reply:
    return Reply({"is": "fine"}, prompt_tokens=10, completion_tokens=1, cost_usd=0.5, http_status=200)


class Asker:
    """Passes everything after what its `way` of asking has done; what it has sent is counted by name."""

    name = "asker"

    def __init__(self, way: Callable[["Asker", Ask], Awaitable[None]]) -> None:
        self.way = way
        self.sent: list[str] = []
        self.left: asyncio.Future[Any] | None = None
        """An ask that the validation does not wait for."""
        self.submissions = 0

    async def validate(self, submission: Submission, ask: Ask) -> Report:
        self.submissions += 1
        await self.way(self, ask)
        return Report(
            tuple(Finding(item.id, Verdict.PASS, "It is fine.", (), self.name) for item in submission.criteria)
        )

    async def ask(self, ask: Ask, what: str, heard: Heard = answer) -> Reply:
        """Ask for something by name."""

        async def send() -> Reply:
            self.sent.append(what)
            return await heard()

        return await ask({"ask": what}, send, lambda reply: reply)

    def leave(self, asking: Awaitable[Any]) -> None:
        """Go on without waiting for an ask."""
        self.left = asyncio.ensure_future(asking)

    async def refused(self) -> BaseException | None:
        """What became of the ask that was left."""
        assert self.left is not None
        await asyncio.wait([self.left])
        return self.left.exception()


async def raises(error: ValidatorError) -> Reply:
    raise error


async def soon(holds: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(20):
        while not await holds():  # noqa: ASYNC110 - what is waited for is in the database
            await asyncio.sleep(0.01)


async def stands(house: House, job: Job) -> Run:
    """The job's latest execution, with what running it needs."""
    found = await house.container.jobs.get(CLIENT, job.id)
    assert found is not None
    async with house.container.database.read() as tx:
        run = await execution_rows.run(tx, found.latest_execution_id or "")
    assert run is not None
    return run


async def is_held(house: House, job: Job) -> bool:
    """Whether the house still has the job's latest execution."""
    run, runner = await stands(house, job), house.container.runner
    assert isinstance(runner, InProcess)
    async with house.container.database.begin() as tx:
        return run.execution.id in await execution_rows.renew(tx, runner.owner, [run.execution.id], 30)


async def until(house: House, job: Job, state: ExecutionState) -> Run:
    async def is_there() -> bool:
        return (await stands(house, job)).execution.state is state

    await soon(is_there)
    return await stands(house, job)


async def let_go(house: House, scripted: ScriptedAgent) -> tuple[Job, Run]:
    """A job whose execution waits for the validator's next try."""
    job = await house.job(await house.agent(scripted.url), NEEDS_JUDGEMENT)
    await house.execute(job, wait_seconds=0)
    return job, await until(house, job, ExecutionState.WAITING_RETRY)


async def changes_nothing(asker: Asker, house: House, job: Job, before: Run) -> None:
    """See that what was left is refused, and the job's execution as it was."""
    assert isinstance(await asker.refused(), LostError)
    assert await stands(house, job) == before


async def test_what_is_asked_after_the_execution_was_let_go_is_not_sent(open_house: OpenHouse) -> None:
    """Two asks side by side: one fails and the execution waits, and only then does the other begin."""
    goes_on = asyncio.Event()

    async def side_by_side(asker: Asker, ask: Ask) -> None:
        async def late() -> Reply:
            await goes_on.wait()
            return await asker.ask(ask, "late")

        if asker.submissions == 1:
            asker.leave(late())
            await asker.ask(ask, "first", lambda: raises(away()))

    asker = Asker(side_by_side)
    async with open_house(validator=asker, retry=LONG_WAITS) as house, ScriptedAgent() as scripted:
        job, waiting = await let_go(house, scripted)
        goes_on.set()
        await changes_nothing(asker, house, job, waiting)
        assert asker.sent == ["first"]

        again = await house.container.executions.retry_validation(CLIENT, job.id, 10)
        assert again.job is not None
        assert again.job.status is JobStatus.COMPLETED
        assert await house.violations() == []


async def test_what_was_being_asked_when_the_execution_was_let_go_changes_nothing_any_more(
    open_house: OpenHouse,
) -> None:
    """Its trouble is no second wait, and its request is closed."""
    is_sent, goes_on = asyncio.Event(), asyncio.Event()

    async def side_by_side(asker: Asker, ask: Ask) -> None:
        async def late() -> Reply:
            is_sent.set()
            await goes_on.wait()
            raise away()

        if asker.submissions == 1:
            asker.leave(asker.ask(ask, "late", late))
            await is_sent.wait()
            await asker.ask(ask, "first", lambda: raises(away()))

    asker = Asker(side_by_side)
    async with open_house(validator=asker, retry=LONG_WAITS) as house, ScriptedAgent() as scripted:
        job, waiting = await let_go(house, scripted)
        goes_on.set()
        await changes_nothing(asker, house, job, waiting)
        assert waiting.validator_tries == 1
        assert (await house.entries(job))[-1] == "validator_response:unknown"

        await house.container.executions.cancel(CLIENT, job.id, None, None)
        assert await house.violations() == []


async def test_a_validator_that_asks_another_after_trouble_keeps_its_execution(open_house: OpenHouse) -> None:
    """It has not said that it has no verdict: nobody else may begin, and nothing is waited for."""
    is_sent, goes_on = asyncio.Event(), asyncio.Event()

    async def falling_back(asker: Asker, ask: Ask) -> None:
        async def slowly() -> Reply:
            is_sent.set()
            await goes_on.wait()
            return await answer()

        with pytest.raises(ValidatorError):
            await asker.ask(ask, "first", lambda: raises(away()))
        await asker.ask(ask, "second", slowly)

    asker = Asker(falling_back)
    async with open_house(validator=asker, retry=SHORT_WAITS) as house, ScriptedAgent() as scripted:
        job = await house.job(await house.agent(scripted.url), NEEDS_JUDGEMENT)
        executing = asyncio.create_task(house.execute(job))
        await is_sent.wait()
        assert await is_held(house, job)
        # Whoever else looks for work, while it takes longer than a wait would.
        async with open_house(validator=asker, retry=SHORT_WAITS):
            await asyncio.sleep(1.5)
        goes_on.set()
        result = await executing
        assert result.job is not None
        assert result.job.status is JobStatus.COMPLETED
        assert asker.sent == ["first", "second"]
        judged = [entry for entry in await house.entries(job) if entry.startswith("validator")]
        assert judged == ["validator_request", "validator_response:error", "validator_request", "validator_response"]
        assert await house.violations() == []


async def test_a_reply_is_kept_though_what_was_asked_beside_it_fails(open_house: OpenHouse) -> None:
    heard = asyncio.Event()

    async def side_by_side(asker: Asker, ask: Ask) -> None:
        async def fails_then_answers() -> Reply:
            await heard.wait()
            return await (raises(away()) if asker.submissions == 1 else answer())

        async def good() -> None:
            await asker.ask(ask, "good")
            heard.set()

        await asyncio.gather(good(), asker.ask(ask, "bad", fails_then_answers))

    asker = Asker(side_by_side)
    async with open_house(validator=asker, retry=LONG_WAITS) as house, ScriptedAgent() as scripted:
        job, waiting = await let_go(house, scripted)
        assert waiting.cost_usd == 0.5
        result = await house.container.executions.retry_validation(CLIENT, job.id, 10)
        assert result.job is not None
        assert result.job.status is JobStatus.COMPLETED
        assert asker.sent == ["good", "bad", "bad"]
        assert (await stands(house, job)).cost_usd == 1.0
        assert await house.violations() == []


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, ExecutionOutcome.ACCEPTED),
        (away(retry_after_seconds=3600), ExecutionOutcome.VALIDATOR_UNAVAILABLE),
        (away(ValidatorTroubleKind.INVALID), ExecutionOutcome.UNDECIDED),
    ],
)
async def test_what_a_validator_does_not_wait_for_is_closed_when_it_ends(
    open_house: OpenHouse, error: ValidatorError | None, outcome: ExecutionOutcome
) -> None:
    """The quicker of two: the other one's answer comes when the verdict is written, or never."""
    is_sent, goes_on = asyncio.Event(), asyncio.Event()

    async def the_quicker(asker: Asker, ask: Ask) -> None:
        async def slowly() -> Reply:
            is_sent.set()
            await goes_on.wait()
            return await answer()

        asker.leave(asker.ask(ask, "slow", slowly))
        await is_sent.wait()
        await asker.ask(ask, "quick", answer if error is None else partial(raises, error))

    asker = Asker(the_quicker)
    async with open_house(validator=asker) as house, ScriptedAgent() as scripted:
        job = await house.job(await house.agent(scripted.url), NEEDS_JUDGEMENT)
        result = await house.execute(job)
        goes_on.set()
        assert isinstance(await asker.refused(), LostError)
        assert result.execution is not None
        assert result.execution.outcome is outcome
        responses = [entry for entry in await house.log(job) if entry.type is JobLogType.VALIDATOR_RESPONSE]
        quick = JobLogStatus.OK if error is None else JobLogStatus.ERROR
        assert [response.status for response in responses] == [quick, JobLogStatus.UNKNOWN]
        assert await house.violations() == []
