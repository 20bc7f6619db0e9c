"""An agent is asked once: what it has answered waits for a database that is away."""

import asyncio
from collections.abc import Callable, Generator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from db import executions
from db.records import ExecutionOutcome
from db.session import Database, is_away
from services.ports import AgentError, AgentTroubleKind
from tests.crash.patching import put
from tests.databases import OwnServer, own_postgresql_server
from tests.fakes import FakeExecutor
from tests.services.conftest import CLIENT, OpenHouse

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


@pytest.fixture(params=["keep_answer", "not_answered"])
def absence(request: pytest.FixtureRequest) -> Generator[Absence]:
    absence = Absence(request.param, 3)
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


@pytest.fixture
def own_postgresql() -> Generator[OwnServer]:
    with own_postgresql_server() as server:
        yield server


async def test_connections_that_a_restart_has_closed_are_not_handed_out(own_postgresql: OwnServer) -> None:
    database = Database.open(own_postgresql.url)

    async def ask(meanwhile: Callable[[], None] | None = None) -> None:
        async with database.read() as tx:
            if meanwhile is not None:
                await asyncio.to_thread(meanwhile)
            await tx.connection.execute(text("SELECT pg_sleep(0.05)"))

    await asyncio.gather(*(ask() for _ in range(5)))
    with pytest.raises(DBAPIError, check=is_away):
        await ask(own_postgresql.restart)
    await asyncio.gather(*(ask() for _ in range(5)))
    await database.close()


def test_a_fault_of_ours_is_no_absence() -> None:
    assert not is_away(ValueError("It is wrong."))
