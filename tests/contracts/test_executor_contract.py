"""What every executor must do. An adapter joins with a function in `EXECUTORS`.

Each function makes a rig: the executor, the endpoint to give to its agent, and how often that agent was
called. The agent answers, or fails in the given way.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeAlias

import pytest

from db.records import JsonValue
from services.executors.http_json import HttpJson
from services.guard import Guard
from services.plugins import Installed, PluginExecutor
from services.ports import (
    AgentError,
    AgentRequest,
    AgentTroubleKind,
    Delivery,
    Executor,
    FailedCriterion,
    InputInvalidError,
    Previous,
)
from services.sandbox import Sandbox
from services.strict_json import check
from tests.agents import LOOPBACK, Response, ScriptedAgent
from tests.fakes import FakeExecutor, pinned_agent, pinned_job

SECRET = "s3cr3t-of-the-agent"
PREVIOUS = Previous(
    {"draft": 1}, "Mend the title.", (FailedCriterion("crt_1", "Is right.", "It is wrong.", ("draft",)),)
)


@dataclass(frozen=True)
class Rig:
    executor: Executor
    url: str
    calls: Callable[[], int]


Make: TypeAlias = "Callable[[JsonValue | AgentTroubleKind], AbstractAsyncContextManager[Rig]]"


@asynccontextmanager
async def fake(outcome: JsonValue | AgentTroubleKind) -> AsyncGenerator[Rig]:
    if isinstance(outcome, AgentTroubleKind):
        executor = FakeExecutor(AgentError(outcome, "scripted", "As scripted."))
    else:
        executor = FakeExecutor(outcome)
    yield Rig(executor, "http://agent.example/run", lambda: len(executor.deliveries))


HTTP_TROUBLE = {
    AgentTroubleKind.NOT_SENT: Response({"error": SECRET}, status=503),
    AgentTroubleKind.FAILED: Response({"error": SECRET}, status=500),
    AgentTroubleKind.UNKNOWN: Response(cut_after=40),
    AgentTroubleKind.TIMEOUT: Response(hangs=True),
    AgentTroubleKind.ANSWER_INVALID: Response(f"<html>{SECRET}</html>".encode()),
}


@asynccontextmanager
async def http_json(outcome: JsonValue | AgentTroubleKind) -> AsyncGenerator[Rig]:
    response = HTTP_TROUBLE[outcome] if isinstance(outcome, AgentTroubleKind) else Response(outcome)
    async with ScriptedAgent(response) as agent, Sandbox() as sandbox:
        yield Rig(HttpJson(sandbox, Guard(LOOPBACK)), agent.url, lambda: len(agent.requests))


@asynccontextmanager
async def plugin(outcome: JsonValue | AgentTroubleKind) -> AsyncGenerator[Rig]:
    """The fake again, as others would install it."""
    async with fake(outcome) as inner:
        executor = PluginExecutor(Installed("theirs", "theirs 1.0", lambda: lambda: inner.executor))
        yield replace(inner, executor=executor)
        executor.plugin.stop()


EXECUTORS: dict[str, Make] = {"plugin": plugin, "fake": fake, "http_json": http_json}


@pytest.fixture(params=EXECUTORS)
def make(request: pytest.FixtureRequest) -> Make:
    return EXECUTORS[request.param]


async def prepared(rig: Rig, previous: Previous | None = None) -> AgentRequest:
    return await rig.executor.prepare(pinned_job({"topic": "x"}), pinned_agent(rig.url), previous)


async def test_preparing_sends_nothing_and_gives_the_same_each_time(make: Make) -> None:
    async with make({"ok": True}) as rig:
        first = await prepared(rig)
        check(first.body)

        assert await prepared(rig) == first
        assert first.url == rig.url
        assert await prepared(rig, PREVIOUS) == await prepared(rig, PREVIOUS)
        assert rig.calls() == 0


async def test_a_resubmission_tells_the_agent_what_to_mend(make: Make) -> None:
    async with make({"ok": True}) as rig:
        assert "Mend the title." not in repr((await prepared(rig)).body)
        assert "Mend the title." in repr((await prepared(rig, PREVIOUS)).body)


@pytest.mark.parametrize("answer", [{"text": "ü", "list": [1, 2.5, None]}, [], "text", 5, False], ids=repr)
async def test_an_answer_is_returned_as_it_is(make: Make, answer: JsonValue) -> None:
    async with make(answer) as rig:
        got = await rig.executor.send(await prepared(rig), Delivery("key", timeout_seconds=5))

        assert got.value == answer
        assert rig.calls() == 1


@pytest.mark.parametrize("kind", list(AgentTroubleKind))
async def test_trouble_is_told_by_kind_once_and_without_the_credential(make: Make, kind: AgentTroubleKind) -> None:
    async with make(kind) as rig:
        request = await prepared(rig)
        timeout_seconds = 0.5 if kind is AgentTroubleKind.TIMEOUT else 20
        with pytest.raises(AgentError) as raised:
            await rig.executor.send(request, Delivery("key", timeout_seconds=timeout_seconds, secret=SECRET))

        trouble = raised.value
        assert trouble.kind is kind
        assert trouble.code
        assert trouble.message.endswith(".")
        assert SECRET not in repr((trouble.message, trouble.payload, str(trouble), trouble.args))
        assert rig.calls() == 1


async def test_data_that_does_not_fit_is_told_line_by_line_and_not_sent() -> None:
    async with Sandbox() as sandbox:
        strict = HttpJson(sandbox, Guard(LOOPBACK))
        agent = pinned_agent(input_schema={"properties": {"n": {"type": "integer"}}, "required": ["n"]})
        for executor in (strict, FakeExecutor(input_errors=["/n: is missing"])):
            with pytest.raises(InputInvalidError) as raised:
                await executor.prepare(pinned_job({}), agent, None)

            assert len(raised.value.errors) == 1
