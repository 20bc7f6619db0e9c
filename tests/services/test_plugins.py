"""Plug-ins: what they do wrong is said of them by name, and hurts nobody else."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.plugins import EXECUTORS, VALIDATORS, names
from app.plugins import installed as found_in
from db.records import ExecutionOutcome, JobStatus
from services.plugins import MOST_HUNG, Installed, Plugin, PluginFaultError
from services.ports import (
    Agent,
    AgentAnswer,
    AgentRequest,
    Ask,
    Delivery,
    Finding,
    Job,
    Previous,
    Reply,
    Report,
    Submission,
    Verdict,
)
from tests.agents import ScriptedAgent
from tests.fakes import FakeExecutor, FakeValidator
from tests.services.conftest import CLIENT, NEEDS_JUDGEMENT, House
from tests.services.test_judging import done, first_notice, house, validated

ORIGIN = "theirs 1.0"


def installed(name: str, factory: object) -> Installed:
    return Installed(name, ORIGIN, lambda: factory)


@asynccontextmanager
async def judged_by(url: str, factory: object, **fields: Any) -> AsyncGenerator[House]:
    async with house(
        url, plugin_validators=[installed("theirs", factory)], validator_name="theirs", **fields
    ) as opened:
        yield opened


# ---------------------------------------------------------------------------------------------------- they work


class Polite(FakeValidator):
    """Asks twice, and only passes if both replies say so."""

    async def validate(self, submission: Submission, ask: Ask) -> Report:
        assert threading.current_thread() is not threading.main_thread()
        first, second = await super().validate(submission, ask), await super().validate(submission, ask)
        return first if first == second else Report(())


async def test_what_a_plug_in_asks_is_journaled_as_ever(sqlite_url: str) -> None:
    async with ScriptedAgent() as scripted, judged_by(sqlite_url, Polite) as opened:
        job = await opened.job(await opened.agent(scripted.url), NEEDS_JUDGEMENT)
        now, execution, _ = done(await opened.execute(job))

        assert now.status is JobStatus.COMPLETED
        validation = await validated(opened, execution)
        assert (validation.validator, validation.prompt_tokens) == ("theirs", 200)
        assert (await opened.entries(job)).count("validator_response") == 2


async def test_an_executor_that_is_made_asynchronously_calls_its_agents(sqlite_url: str) -> None:
    async def make() -> FakeExecutor:
        await asyncio.sleep(0)
        return FakeExecutor({"ok": True})

    async with house(sqlite_url, plugin_executors=[installed("theirs", make)]) as opened:
        job = await opened.job(await opened.agent("http://127.0.0.1:9/", executor="theirs"))
        now, _, _ = done(await opened.execute(job))
        assert now.status is JobStatus.COMPLETED


# ------------------------------------------------------------------------------------------------- they do not


def not_there() -> object:
    raise ImportError("No module named 'nonsense'")


class Faulty:
    """A validator, if one may call it that."""

    name = "faulty"

    def __init__(self, how: Callable[[Submission, Ask], Any]) -> None:
        self.how = how

    async def validate(self, submission: Submission, ask: Ask) -> Any:
        made = self.how(submission, ask)
        return await made if asyncio.iscoroutine(made) else made


def raising(error: BaseException) -> Callable[[Submission, Ask], Any]:
    def fail(submission: Submission, ask: Ask) -> Any:
        raise error

    return fail


async def hanging_in_a_call(submission: Submission, ask: Ask) -> Any:
    async def send() -> Reply:
        await asyncio.sleep(60)
        return Reply(None)

    return await ask({"question": 1}, send, lambda reply: reply)


async def sending_nonsense(submission: Submission, ask: Ask) -> Any:
    async def send() -> Any:
        return {"verdict": "pass"}

    return await ask({"question": 1}, send, lambda reply: reply)


def passing(ids: list[str]) -> Report:
    return Report(tuple(Finding(id_, Verdict.PASS, "Fine.", (), "theirs") for id_ in ids))


FAULTS: dict[str, tuple[Callable[[Submission, Ask], Any], str]] = {
    "raises": (raising(ZeroDivisionError("secret")), "failed with ZeroDivisionError"),
    "ends the process": (raising(SystemExit(3)), "failed with RuntimeError"),
    "returns nothing": (lambda *_: None, "returned NoneType instead of Report"),
    "returns text": (lambda *_: "pass", "returned str instead of Report"),
    "decides nothing": (lambda *_: passing([]), "did not decide each criterion exactly once"),
    "invents": (lambda *_: passing(["crt_x"]), "did not decide each criterion exactly once"),
    "hangs": (lambda *_: asyncio.sleep(60), "did not finish within 0.4 s"),
    "blocks": (lambda *_: time.sleep(2.5), "did not finish within 0.4 s"),
    "hangs in a call": (hanging_in_a_call, "did not finish within 0.4 s"),
    "sends nonsense": (sending_nonsense, "failed with TypeError"),
}


@pytest.mark.parametrize(("how", "says"), FAULTS.values(), ids=FAULTS.keys())
async def test_a_fault_of_a_validator_is_its_own(
    sqlite_url: str, how: Callable[[Submission, Ask], Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.plugins._ANSWER_SECONDS", 0.2)
    # Only who does not finish is to be short of time, however slow the machine is.
    fields: dict[str, Any] = {"plugin_validation_seconds": 0.4 if "finish" in says else 20, "validator": None}
    async with ScriptedAgent() as scripted, judged_by(sqlite_url, lambda: Faulty(how), **fields) as opened:
        job = await opened.job(await opened.agent(scripted.url), NEEDS_JUDGEMENT)
        now, execution, notice = done(await opened.execute(job))

        assert (now.status, execution.outcome) == (JobStatus.RESUBMISSION_REQUIRED, ExecutionOutcome.UNDECIDED)
        assert notice is not None
        assert says in notice.message
        assert "'theirs'" in notice.message
        assert "secret" not in notice.message
        # Others are judged as ever, and a look at the answer is still possible: the house checks its invariants.
        other = await opened.job(await opened.agent(scripted.url, validator="openai"), NEEDS_JUDGEMENT)
        assert done(await opened.execute(other))[1].outcome is ExecutionOutcome.UNDECIDED


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        (not_there, "cannot be made (ImportError)"),
        (object, "has no method 'validate'"),
        (5, "cannot be made (TypeError)"),
    ],
)
async def test_a_validator_that_cannot_be_made_is_waited_for_and_the_operator_told(
    sqlite_url: str, factory: object, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        async with ScriptedAgent() as scripted, judged_by(sqlite_url, factory) as opened:
            assert says in (opened.container.validator_health.problem or "")
            job = await opened.job(await opened.agent(scripted.url), NEEDS_JUDGEMENT)
            await opened.execute(job, wait_seconds=0)
            notice = await first_notice(opened, job)
            assert f"The validator 'theirs' of the plug-in {ORIGIN} {says}" in notice.message
            await opened.container.executions.cancel(CLIENT, job.id, None, None)
    assert f"The validator 'theirs' of the plug-in {ORIGIN} {says}" in caplog.text


class BadExecutor:
    """Does what it is told to instead of its work."""

    def __init__(self, *, prepare: Any = None, send: Any = None) -> None:
        self._prepare, self._send = prepare, send

    async def prepare(self, job: Job, agent: Agent, previous: Previous | None) -> Any:
        return AgentRequest(agent.endpoint_url, {}) if self._prepare is None else self._prepare()

    async def send(self, request: AgentRequest, delivery: Delivery) -> Any:
        if self._send is None:
            return AgentAnswer({"ok": True})
        made = self._send()
        return await made if asyncio.iscoroutine(made) else made


@pytest.mark.parametrize(
    ("bad", "outcome", "says"),
    [
        ({"prepare": lambda: 1 / 0}, ExecutionOutcome.AGENT_FAILED, "failed with ZeroDivisionError"),
        ({"prepare": lambda: {"url": "x"}}, ExecutionOutcome.AGENT_FAILED, "returned dict instead of AgentRequest"),
        ({"send": lambda: 1 / 0}, ExecutionOutcome.AGENT_OUTCOME_UNKNOWN, "failed with ZeroDivisionError"),
        ({"send": lambda: {"ok": True}}, ExecutionOutcome.AGENT_OUTCOME_UNKNOWN, "returned dict instead of"),
        ({"send": lambda: asyncio.sleep(60)}, ExecutionOutcome.AGENT_OUTCOME_UNKNOWN, "did not finish within"),
    ],
)
async def test_a_fault_of_an_executor_is_its_own(
    sqlite_url: str, bad: Any, outcome: ExecutionOutcome, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.plugins.GRACE_SECONDS", 0.1)
    found = installed("theirs", lambda: BadExecutor(**bad))
    async with house(sqlite_url, plugin_executors=[found]) as opened:
        seconds = 0.3 if "finish" in says else 20
        agent = await opened.agent("http://127.0.0.1:9/", executor="theirs", timeout_seconds=seconds)
        now, execution, notice = done(await opened.execute(await opened.job(agent)))

        assert (now.status, execution.outcome) == (JobStatus.ASSIGNED, outcome)
        assert notice is not None
        assert f"'theirs' of the plug-in {ORIGIN} {says}" in notice.message


async def test_one_that_hangs_again_and_again_is_not_called_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.plugins._ANSWER_SECONDS", 0.05)
    ended = threading.Event()
    plugin: Plugin[FakeValidator] = Plugin("validator", installed("theirs", FakeValidator), ("validate",))

    async def block(_: FakeValidator) -> None:
        ended.wait(30)

    for _ in range(MOST_HUNG):
        with pytest.raises(PluginFaultError, match="did not finish"):
            await plugin.call(block, 0.05)
    with pytest.raises(PluginFaultError, match="has hung 3 times"):
        await plugin.call(block, 0.05)

    ended.set()
    plugin.stop()


async def test_calls_that_stand_behind_one_that_hangs_are_not_counted_as_hanging(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.plugins._ANSWER_SECONDS", 0.05)
    ended = threading.Event()
    plugin: Plugin[FakeValidator] = Plugin("validator", installed("theirs", FakeValidator), ("validate",))

    async def block(_: FakeValidator) -> None:
        ended.wait(30)

    async def wait(_: FakeValidator) -> None:
        await asyncio.sleep(30)

    async def work(_: FakeValidator) -> str:
        return "done"

    try:
        behind = [asyncio.create_task(plugin.call(wait, seconds)) for seconds in (0.3, 0.3, 60)]
        await asyncio.sleep(0)
        with pytest.raises(PluginFaultError, match="did not finish"):
            await plugin.call(block, 0.1)
        # One thread hung, whoever waited for it; the next call has a new one.
        for late in behind[:2]:
            with pytest.raises(PluginFaultError, match="did not finish"):
                await late
        assert await plugin.call(work, 5) == "done"
        # What the old one still had is given up as soon as it no longer hangs.
        ended.set()
        with pytest.raises(PluginFaultError, match="was given up"):
            await behind[2]
        assert await plugin.call(work, 5) == "done"
    finally:
        ended.set()
        plugin.stop()


# -------------------------------------------------------------------------------------------------- which there are


def package(directory: Path, name: str, group: str, *points: str) -> None:
    info = directory / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *points]))


def test_plug_ins_are_found_by_their_entry_points_and_take_no_name_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    package(tmp_path, "alpha", VALIDATORS, "strict = alpha:Strict", "openai = alpha:Mine")
    package(tmp_path, "beta", VALIDATORS, "strict = beta:Strict", "lenient = beta:Lenient")
    monkeypatch.syspath_prepend(str(tmp_path))

    found = found_in(VALIDATORS)

    assert [(point.name, point.origin) for point in found] == [("lenient", "beta 1.0"), ("strict", "alpha 1.0")]
    assert "alpha 1.0 is left out: the name 'openai' in signoff.validators is taken by Signoff itself" in caplog.text
    assert "beta 1.0 is left out: the name 'strict' in signoff.validators is taken by alpha 1.0" in caplog.text
    assert names(VALIDATORS) == ["http", "lenient", "openai", "strict"]
    assert found_in(EXECUTORS) == ()
