"""Somebody's own validator, asked over HTTP: what it is sent, and what its answers are worth."""

import asyncio
import base64
import re
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from app.container import HttpValidation
from db.records import Criterion, ExecutionOutcome, JobStatus
from services.guard import Guard
from services.ports import Report, Submission, ValidatorError, ValidatorTroubleKind, Verdict
from services.validators.http import HttpValidator
from tests.agents import LOOPBACK, Response, ScriptedAgent
from tests.asks import RecordingAsk
from tests.fakes import pinned_job
from tests.services.conftest import CLIENT, NEEDS_JUDGEMENT, OpenHouse

Kind = ValidatorTroubleKind
SECRET, OLD_SECRET = "secret-of-the-validator", "secret-of-before"
CRITERIA = (
    Criterion("crt_1", "It names a colour.", required=True),
    Criterion("crt_2", "It is polite.", required=False),
)
JOB = pinned_job({"topic": "sky"}, CRITERIA, title="Name it")
SUBMISSION = Submission(JOB, CRITERIA, {"text": "Blue, if you please."}, seed="seed")


def result(criterion_id: str, verdict: str = "pass", *evidence: str, rationale: str = "So it is.") -> dict[str, Any]:
    return {"id": criterion_id, "verdict": verdict, "rationale": rationale, "evidence": list(evidence)}


GOOD = [result("crt_1", "pass", "Blue"), result("crt_2", "fail")]


async def decided(*responses: Response, ask: RecordingAsk | None = None, secrets: tuple[str, ...] = ()) -> Report:
    async with ScriptedAgent(*responses) as back_end:
        return await HttpValidator(Guard(LOOPBACK), back_end.url, secrets).validate(SUBMISSION, ask or RecordingAsk())


async def trouble(
    *responses: Response, ask: RecordingAsk | None = None, secrets: tuple[str, ...] = ()
) -> ValidatorError:
    with pytest.raises(ValidatorError) as raised:
        await decided(*responses, ask=ask, secrets=secrets)
    return raised.value


# ---------------------------------------------------------------------------------------------------- the request


async def test_a_request_says_what_is_asked_and_is_signed_with_both_secrets() -> None:
    async with ScriptedAgent(Response({"results": GOOD})) as back_end:
        validator = HttpValidator(Guard(LOOPBACK), back_end.url, (SECRET, OLD_SECRET))
        await validator.validate(SUBMISSION, RecordingAsk())
        await validator.validate(SUBMISSION, RecordingAsk())

    first, again = back_end.requests
    assert first.json() == {
        "version": 1,
        "task": {"id": "job_1", "title": "Name it", "description": "A description", "input": {"topic": "sky"}},
        "criteria": [
            {"id": "crt_1", "text": "It names a colour.", "required": True},
            {"id": "crt_2", "text": "It is polite.", "required": False},
        ],
        "submission": {"text": "Blue, if you please."},
    }
    assert first.headers["authorization"] == f"Bearer {SECRET}"
    for secret in (SECRET, OLD_SECRET):
        Webhook(base64.b64encode(secret.encode()).decode()).verify(first.body, dict(first.headers))
    # The same question has the same name, and another one another.
    assert first.headers["webhook-id"] == again.headers["webhook-id"]
    assert (first.body, "seed" in first.body.decode()) == (again.body, False)


async def test_without_criteria_nobody_is_asked() -> None:
    async with ScriptedAgent() as back_end:
        nothing = Submission(JOB, (), {"text": "x"}, seed="seed")
        assert await HttpValidator(Guard(LOOPBACK), back_end.url).validate(nothing, RecordingAsk()) == Report(())
        assert back_end.connections == 0


# ----------------------------------------------------------------------------------------------------- the answer


async def test_a_good_answer_decides() -> None:
    ask = RecordingAsk()
    more = {"model": "llm-7", "usage": {"prompt_tokens": 7, "completion_tokens": 3, "cost_usd": 0.25}}
    report = await decided(Response({"results": GOOD, "advice": "Look.", **more}), ask=ask)

    assert [(finding.verdict, finding.evidence, finding.decided_by) for finding in report.findings] == [
        (Verdict.PASS, ("Blue",), "llm-7"),
        (Verdict.FAIL, (), "llm-7"),
    ]
    assert (report.model, report.advice) == ("llm-7", "Look.")
    reply = ask.calls[0].reply
    assert reply is not None
    assert (reply.prompt_tokens, reply.completion_tokens, reply.cost_usd) == (7, 3, 0.25)


@pytest.mark.parametrize(
    ("first", "more", "why"),
    [
        (result("crt_1", "pass", "Red"), {}, "not every quote"),
        (result("crt_1", "fail", "Red"), {}, "not every quote"),
        (result("crt_1", "pass"), {}, "quoted nothing"),
        (result("crt_1", "pass", "Blue"), {"addresses_grader": True}, "speaks to whoever judges"),
    ],
)
async def test_doubt_never_passes(first: dict[str, Any], more: dict[str, Any], why: str) -> None:
    report = await decided(Response({"results": [first, result("crt_2", "unsure")], **more}))

    assert report.findings[0].verdict is Verdict.UNSURE
    assert why in report.findings[0].rationale


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b'{"results": [], "results": []}',
        b"null",
        [],
        {},
        {"results": {}},
        {"results": GOOD, "verdict": "pass"},
        {"results": GOOD[:1]},
        {"results": [*GOOD, GOOD[0]]},
        {"results": [*GOOD, result("crt_3", "pass", "Blue")]},
        {"results": [GOOD[0], {**GOOD[1], "verdict": "maybe"}]},
        {"results": [GOOD[0], {**GOOD[1], "score": 1}]},
        {"results": [GOOD[0], {"id": "crt_2", "verdict": "fail"}]},
        {"results": [GOOD[0], {**GOOD[1], "evidence": "Blue"}]},
        {"results": GOOD, "addresses_grader": "no"},
        {"results": GOOD, "model": 7},
        {"results": GOOD, "usage": {"cost_usd": -1}},
        {"results": GOOD, "usage": {"prompt_tokens": True}},
        {"results": GOOD, "usage": {"joules": 1}},
    ],
    ids=range(20),
)
async def test_an_answer_of_another_form_is_no_verdict_and_asked_for_twice_more(answer: object) -> None:
    ask = RecordingAsk()
    async with ScriptedAgent(Response(answer)) as back_end:
        with pytest.raises(ValidatorError) as raised:
            await HttpValidator(Guard(LOOPBACK), back_end.url).validate(SUBMISSION, ask)

    assert raised.value.kind is Kind.INVALID
    assert raised.value.message.startswith("The validator's answer is no judgement: ")
    assert len({request.headers["webhook-id"] for request in back_end.requests}) == len(ask.calls) == 3


async def test_a_good_answer_after_a_bad_one_counts() -> None:
    report = await decided(Response(b"oops"), Response({"results": GOOD}))

    assert report.findings[0].verdict is Verdict.PASS


async def test_what_is_too_large_for_it_is_unsure() -> None:
    report = await decided(Response({"error": "too large"}, status=413))

    assert {finding.verdict for finding in report.findings} == {Verdict.UNSURE}
    assert report.advice is not None


# -------------------------------------------------------------------------------------------------------- trouble


@pytest.mark.parametrize(
    ("response", "kind", "code"),
    [
        (Response(status=500), Kind.UNAVAILABLE, "http_500"),
        (Response(status=429, headers={"retry-after": "7"}), Kind.UNAVAILABLE, "http_429"),
        (Response(status=408), Kind.UNAVAILABLE, "http_408"),
        (Response(status=301, headers={"location": "http://127.0.0.1:9/"}), Kind.CONFIG, "http_301"),
        (Response(status=400), Kind.CONFIG, "http_400"),
        (Response(status=403), Kind.CONFIG, "http_403"),
        (Response(status=404), Kind.CONFIG, "http_404"),
        (Response(resets=True), Kind.TIMEOUT, "connection_broken"),
        (Response({"results": GOOD}, headers={"content-encoding": "gzip"}), Kind.INVALID, "answer_compressed"),
        (Response(b"x" * 3_000_000), Kind.INVALID, "answer_too_large"),
    ],
    ids=range(10),
)
async def test_trouble_says_what_happens_next(response: Response, kind: ValidatorTroubleKind, code: str) -> None:
    error = await trouble(response)

    assert (error.kind, error.code) == (kind, code)
    assert error.message.endswith(".")
    assert error.retry_after_seconds == (7 if code == "http_429" else None)


async def test_time_bounds_the_whole_call() -> None:
    async with ScriptedAgent(Response({"results": GOOD}, drip_seconds=0.05)) as back_end:
        validator = HttpValidator(Guard(LOOPBACK), back_end.url, timeout_seconds=1)
        with pytest.raises(ValidatorError) as raised:
            await validator.validate(SUBMISSION, RecordingAsk())

    assert (raised.value.kind, raised.value.code) == (Kind.TIMEOUT, "timeout")


async def test_it_is_asked_only_where_validators_may_live() -> None:
    async with ScriptedAgent() as back_end:
        with pytest.raises(ValidatorError) as raised:
            await HttpValidator(Guard(), back_end.url).validate(SUBMISSION, RecordingAsk())

        assert (raised.value.kind, raised.value.code) == (Kind.CONFIG, "endpoint_not_allowed")
        assert "SIGNOFF_ALLOWED_VALIDATOR_NETWORKS" in raised.value.message
        assert back_end.connections == 0


async def test_nobody_there_is_waited_for() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        with pytest.raises(ValidatorError) as raised:
            await HttpValidator(Guard(LOOPBACK), url).validate(SUBMISSION, RecordingAsk())

    assert (raised.value.kind, raised.value.code) == (Kind.UNAVAILABLE, "connection_refused")


@pytest.mark.parametrize(
    "response",
    [
        Response({"results": [GOOD[0], result("crt_2", "fail", rationale=f"{SECRET} {OLD_SECRET}")]}),
        Response(b"x" * 4_090 + SECRET.encode()),
        Response({"error": f"Bearer {SECRET}"}, status=500),
    ],
    ids=range(3),
)
async def test_a_secret_that_is_echoed_is_blanked(response: Response) -> None:
    ask = RecordingAsk()
    try:
        said = repr(await decided(response, ask=ask, secrets=(SECRET, OLD_SECRET)))
    except ValidatorError as error:
        said = f"{error} {error.reply}"

    told = said + repr(ask.calls)
    assert SECRET not in told
    assert OLD_SECRET not in told
    assert SECRET[:6] + "'" not in told
    assert "[redacted" in told or "x" * 4_090 in told


# ------------------------------------------------------------------------------------------------------- altogether


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_job_is_judged_by_it(open_house: OpenHouse) -> None:
    async with ScriptedAgent(Response({"text": "Yes, gladly."})) as agent, ScriptedAgent() as back_end:
        http = HttpValidation(back_end.url, (SECRET,), LOOPBACK)
        async with open_house(validator_name="http", http_validator=http) as house:
            job = await house.job(await house.agent(agent.url), NEEDS_JUDGEMENT)
            criterion_id = job.acceptance_criteria[0].id
            back_end.responses = [
                Response({"results": [result(criterion_id, "fail", rationale="It is curt.")]}),
                Response({"results": [result(criterion_id, "pass", "gladly")]}),
            ]
            rejected = await house.execute(job)
            accepted = await house.execute(job)
            entries = await house.entries(job)

    assert rejected.job is not None
    assert accepted.job is not None
    assert rejected.job.notice is not None
    assert (rejected.job.status, rejected.job.notice.code) == (
        JobStatus.RESUBMISSION_REQUIRED,
        ExecutionOutcome.REJECTED,
    )
    assert accepted.job.status is JobStatus.COMPLETED
    assert entries.count("validator_request") == entries.count("validator_response") == 2
    assert rejected.job.owner.id == CLIENT.id


async def test_the_documented_example_works() -> None:
    document = (Path(__file__).parents[2] / "docs" / "validator-http.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    submission = Submission(JOB, CRITERIA, {"text": "Grey waves of the sea"}, seed="seed")
    validator = HttpValidator(Guard(LOOPBACK), f"http://127.0.0.1:{port}/")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code.replace("9000", str(port))), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(30):
            while (report := await _once_it_listens(validator, submission)) is None:  # noqa: ASYNC110 - it cannot ring
                await asyncio.sleep(0.05)
    finally:
        process.kill()
        await process.wait()

    assert [finding.verdict for finding in report.findings] == [Verdict.PASS, Verdict.PASS]


async def _once_it_listens(validator: HttpValidator, submission: Submission) -> Report | None:
    try:
        return await validator.validate(submission, RecordingAsk())
    except ValidatorError as error:
        if error.code != "connection_refused":
            raise
        return None
