"""What agents and validators have answered waits for a database that is away; nobody is asked twice."""

from collections.abc import Generator
from typing import Any

import pytest

from db import executions
from db.records import ExecutionOutcome
from db.session import is_away
from services.ports import AgentError, AgentTroubleKind, ValidatorError, ValidatorTroubleKind, Verdict
from tests.crash.patching import put
from tests.fakes import FakeExecutor, FakeValidator
from tests.services.conftest import CLIENT, NEEDS_JUDGEMENT, OpenHouse

URL = "http://127.0.0.1:9/"


class Absence:
    """The database is away for the next so many times that a function asks it."""

    def __init__(self, name: str, times: int) -> None:
        self.name, self.left = name, times
        self._real: Any = getattr(executions, name)

    def begin(self) -> None:
        async def away(*arguments: Any, **named: Any) -> Any:
            if self.left:
                self.left -= 1
                raise ConnectionRefusedError
            return await self._real(*arguments, **named)

        put(executions, self.name, away)

    def end(self) -> None:
        put(executions, self.name, self._real)


@pytest.fixture(params=[("keep_answer", 2), ("not_answered", 2)])
def absence(request: pytest.FixtureRequest) -> Generator[Absence]:
    absence = Absence(*request.param)
    absence.begin()
    yield absence
    absence.end()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_an_agent_answered_waits_for_the_database(open_house: OpenHouse, absence: Absence) -> None:
    answered = absence.name == "keep_answer"
    failure = AgentError(AgentTroubleKind.FAILED, "http_500", "It failed.", http_status=500)
    executor = FakeExecutor({"ok": True} if answered else failure)
    async with open_house(extra_executors=[("fake", executor)]) as house:
        job = await house.job(await house.agent(URL, executor="fake"))
        result = await house.execute(job, CLIENT)

        assert absence.left == 0
        assert result.execution is not None
        expected = ExecutionOutcome.ACCEPTED if answered else ExecutionOutcome.AGENT_FAILED
        assert result.execution.outcome is expected
        assert len(executor.deliveries) == 1
        assert await house.violations() == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("absence", "says"),
    [
        (("finish", 2), Verdict.PASS),
        (("keeping", 2), ValidatorError(ValidatorTroubleKind.REFUSED, "It refuses.")),
    ],
    indirect=["absence"],
)
async def test_what_a_validator_replied_waits_for_the_database(
    open_house: OpenHouse, absence: Absence, says: Verdict | ValidatorError
) -> None:
    validator = FakeValidator(says)
    async with open_house(extra_executors=[("fake", FakeExecutor())], validator=validator) as house:
        job = await house.job(await house.agent(URL, executor="fake"), NEEDS_JUDGEMENT)
        result = await house.execute(job, CLIENT)

        assert absence.left == 0
        assert result.execution is not None
        expected = ExecutionOutcome.ACCEPTED if says is Verdict.PASS else ExecutionOutcome.UNDECIDED
        assert result.execution.outcome is expected
        assert len(validator.submissions) == 1
        assert await house.violations() == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("absence", [("asking", 1)], indirect=True)
async def test_a_database_that_is_away_before_the_validator_is_asked_is_no_fault_of_the_validators(
    open_house: OpenHouse, absence: Absence
) -> None:
    validator = FakeValidator()
    fields = {"extra_executors": [("fake", FakeExecutor())], "validator": validator, "lease_seconds": 0.2}
    async with open_house(**fields) as house:
        job = await house.job(await house.agent(URL, executor="fake"), NEEDS_JUDGEMENT)
        result = await house.execute(job, CLIENT)

        assert absence.left == 0
        assert result.execution is not None
        assert result.execution.outcome is ExecutionOutcome.ACCEPTED
        assert await house.violations() == []


def test_a_fault_of_ours_is_no_absence() -> None:
    assert not is_away(ValueError("It is wrong."))
