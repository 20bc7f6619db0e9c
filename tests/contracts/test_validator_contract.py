"""What every validator must do. An adapter joins with a function in `VALIDATORS`.

Each function makes a validator whose back end gives the scripted outcome, without leaving loopback.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

import pytest

from db.records import Criterion
from services.guard import Guard
from services.plugins import Installed, PluginValidator
from services.ports import Submission, Validator, ValidatorError, ValidatorTroubleKind, Verdict
from services.strict_json import check
from services.validators.http import HttpValidator
from tests.agents import LOOPBACK, Response, ScriptedAgent
from tests.asks import RecordingAsk
from tests.fakes import FakeValidator, pinned_job

Make: TypeAlias = Callable[[Verdict | ValidatorTroubleKind], AbstractAsyncContextManager[Validator]]

CRITERIA = (
    Criterion("crt_1", "Names a colour.", required=True),
    Criterion("crt_2", "Is polite.", required=False),
)
SUBMISSION = Submission(pinned_job(criteria=CRITERIA), CRITERIA, {"text": "Blue, if you please."}, seed="seed")


@asynccontextmanager
async def fake(outcome: Verdict | ValidatorTroubleKind) -> AsyncGenerator[Validator]:
    if isinstance(outcome, Verdict):
        yield FakeValidator(outcome)
    else:
        yield FakeValidator(ValidatorError(outcome, "As scripted."))


HTTP_TROUBLE = {ValidatorTroubleKind.UNAVAILABLE: 503, ValidatorTroubleKind.CONFIG: 401}


@asynccontextmanager
async def http(outcome: Verdict | ValidatorTroubleKind) -> AsyncGenerator[Validator]:
    if isinstance(outcome, Verdict):
        result = {"verdict": outcome.value, "rationale": "So it is.", "evidence": ["Blue"]}
        response = Response({"results": [{"id": criterion.id, **result} for criterion in CRITERIA]})
    else:
        response = Response({"error": "As scripted."}, status=HTTP_TROUBLE[outcome])
    async with ScriptedAgent(response) as back_end:
        yield HttpValidator(Guard(LOOPBACK), back_end.url)


@asynccontextmanager
async def plugin(outcome: Verdict | ValidatorTroubleKind) -> AsyncGenerator[Validator]:
    """The fake again, as others would install it."""
    async with fake(outcome) as inner:
        validator = PluginValidator(Installed("theirs", "theirs 1.0", lambda: lambda: inner), 10)
        yield validator
        validator.plugin.stop()


VALIDATORS: dict[str, Make] = {"plugin": plugin, "fake": fake, "http": http}


@pytest.fixture(params=VALIDATORS)
def make(request: pytest.FixtureRequest) -> Make:
    return VALIDATORS[request.param]


@pytest.mark.parametrize("verdict", [Verdict.PASS, Verdict.FAIL, Verdict.UNSURE])
async def test_every_criterion_is_decided_once(make: Make, verdict: Verdict) -> None:
    async with make(verdict) as validator:
        report = await validator.validate(SUBMISSION, RecordingAsk())

    assert sorted(finding.criterion_id for finding in report.findings) == ["crt_1", "crt_2"]
    assert {finding.verdict for finding in report.findings} == {verdict}
    assert all(finding.rationale and finding.decided_by for finding in report.findings)


async def test_what_it_asks_and_gets_can_be_journaled(make: Make) -> None:
    ask = RecordingAsk()
    async with make(Verdict.PASS) as validator:
        assert validator.name
        await validator.validate(SUBMISSION, ask)

    assert ask.calls
    for call in ask.calls:
        check(call.request)
        assert call.reply is not None
        check(call.reply.payload)


async def test_an_interrupted_validation_goes_on_from_its_journal(make: Make) -> None:
    ask = RecordingAsk()
    async with make(Verdict.FAIL) as validator:
        report = await validator.validate(SUBMISSION, ask)
        again = ask.resumed()

        assert await validator.validate(SUBMISSION, again) == report

    assert not any(call.was_sent for call in again.calls)


@pytest.mark.parametrize("kind", [ValidatorTroubleKind.UNAVAILABLE, ValidatorTroubleKind.CONFIG])
async def test_trouble_is_no_verdict(make: Make, kind: ValidatorTroubleKind) -> None:
    ask = RecordingAsk()
    async with make(kind) as validator:
        with pytest.raises(ValidatorError) as trouble:
            await validator.validate(SUBMISSION, ask)

    assert trouble.value.kind is kind
    assert trouble.value.message
    assert len(ask.calls) == 1
