"""The loop against real agents over HTTP: every way an agent or a validator can go ends as the design says."""

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

import pytest

from db.records import Execution, ExecutionOutcome, ExecutionState, Job, JobLogStatus, JobLogType, JobStatus
from services.executions import requests
from services.ports import ValidatorError, ValidatorTroubleKind, Verdict
from tests.agents import Response, ScriptedAgent
from tests.fakes import FakeValidator
from tests.services.conftest import CLIENT, IS_OK, NEEDS_JUDGEMENT, House, OpenHouse

CREATED = ["status_change", "status_change", "status_change"]
CHECKED = ["validator_request", "validator_response"]
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}


@dataclass(frozen=True)
class Case:
    """What an agent does, and where that leads."""

    response: Response
    status: JobStatus
    outcome: ExecutionOutcome
    entries: tuple[str, ...]
    http_status: int | None = None
    error_code: str | None = None


# The status has arrived, the body has not: this is no answer.
CUT = Response({"ok": True, "rest": "x" * 100}, cut_after=120)
BACK = JobStatus.ASSIGNED
RESUBMIT = JobStatus.RESUBMISSION_REQUIRED

AGENT_CASES = {
    "2xx JSON": Case(
        Response({"ok": True}),
        JobStatus.COMPLETED,
        ExecutionOutcome.ACCEPTED,
        ("agent_request", "agent_response", *CHECKED),
        http_status=200,
    ),
    "2xx that fails a criterion": Case(
        Response({"ok": False}),
        RESUBMIT,
        ExecutionOutcome.REJECTED,
        ("agent_request", "agent_response", *CHECKED),
        http_status=200,
    ),
    "broken schema": Case(
        Response({"ok": "yes"}),
        RESUBMIT,
        ExecutionOutcome.OUTPUT_INVALID,
        ("agent_request", "agent_response:error"),
        http_status=200,
        error_code="output_invalid",
    ),
    "not JSON": Case(
        Response(b"<html>hello</html>"),
        RESUBMIT,
        ExecutionOutcome.OUTPUT_INVALID,
        ("agent_request", "agent_response:error"),
        http_status=200,
    ),
    "null": Case(
        Response(b"null"),
        RESUBMIT,
        ExecutionOutcome.OUTPUT_INVALID,
        ("agent_request", "agent_response:error"),
        http_status=200,
    ),
    "3xx": Case(
        Response({}, status=302, headers={"location": "http://127.0.0.1:1/"}),
        BACK,
        ExecutionOutcome.AGENT_FAILED,
        ("agent_request", "agent_response:error"),
        http_status=302,
    ),
    "4xx": Case(
        Response({"error": "no"}, status=422),
        BACK,
        ExecutionOutcome.AGENT_FAILED,
        ("agent_request", "agent_response:error"),
        http_status=422,
    ),
    "5xx": Case(
        Response({"error": "oh"}, status=500),
        BACK,
        ExecutionOutcome.AGENT_FAILED,
        ("agent_request", "agent_response:error"),
        http_status=500,
    ),
    "time-out": Case(
        Response(hangs=True),
        BACK,
        ExecutionOutcome.AGENT_OUTCOME_UNKNOWN,
        ("agent_request", "agent_response:timeout"),
    ),
    "cut": Case(
        CUT,
        BACK,
        ExecutionOutcome.AGENT_OUTCOME_UNKNOWN,
        ("agent_request", "agent_response:unknown"),
        http_status=200,
    ),
}


@pytest.mark.parametrize("case", AGENT_CASES.values(), ids=AGENT_CASES.keys())
async def test_whatever_an_agent_does_ends_as_the_design_says(house: House, case: Case) -> None:
    async with ScriptedAgent(case.response) as scripted:
        timeout_seconds = 1 if case.response.hangs else 20
        agent = await house.agent(scripted.url, output_schema=SCHEMA, timeout_seconds=timeout_seconds)
        job = await house.job(agent)
        result = await house.execute(job)
        assert result.user_errors == ()
        assert result.job is not None
        assert result.execution is not None
        assert (result.job.status, result.execution.outcome) == (case.status, case.outcome)
        assert await house.entries(job) == [*CREATED, *case.entries, "status_change"]
        response = next(entry for entry in await house.log(job) if entry.type is JobLogType.AGENT_RESPONSE)
        assert response.http_status == case.http_status
        if case.error_code is not None:
            assert response.error_code == case.error_code
        assert (result.job.result is not None) == (case.status is JobStatus.COMPLETED)
        if case.outcome is ExecutionOutcome.ACCEPTED:
            assert result.job.notice is None
        else:
            assert result.job.notice is not None
            assert result.job.notice.code is case.outcome
        assert len(scripted.requests) == 1


async def test_an_agent_that_refuses_connections_is_tried_three_times_with_one_key(house: House) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        agent = await house.agent(f"http://127.0.0.1:{taken.getsockname()[1]}/")
        job = await house.job(agent)
        result = await house.execute(job)
    assert result.job is not None
    assert result.execution is not None
    assert (result.job.status, result.execution.outcome) == (BACK, ExecutionOutcome.AGENT_FAILED)
    assert await house.entries(job) == [*CREATED, *["agent_request", "agent_response:error"] * 3, "status_change"]
    requests = [entry for entry in await house.log(job) if entry.type is JobLogType.AGENT_REQUEST]
    assert [entry.attempt for entry in requests] == [1, 2, 3]
    keys = {str(entry.payload["idempotency_key"]) for entry in requests if isinstance(entry.payload, dict)}
    assert keys == {result.execution.idempotency_key}


async def test_a_busy_agent_is_asked_again_after_the_time_it_names(house: House) -> None:
    busy = Response({}, status=503, headers={"retry-after": "1"})
    async with ScriptedAgent(busy, Response({"ok": True})) as scripted:
        job = await house.job(await house.agent(scripted.url))
        result = await house.execute(job)
        assert result.job is not None
        assert result.job.status is JobStatus.COMPLETED
        first, second = scripted.requests
        assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


async def test_an_ambiguous_request_is_sent_again_only_to_an_idempotent_agent(house: House) -> None:
    async with ScriptedAgent(Response(cut_after=20), Response({"ok": True})) as scripted:
        job = await house.job(await house.agent(scripted.url, idempotent=True))
        result = await house.execute(job)
        assert result.job is not None
        assert result.job.status is JobStatus.COMPLETED
        assert len(scripted.requests) == 2


async def test_executing_again_after_no_answer_sends_the_same_key_and_after_an_answer_a_new_one(house: House) -> None:
    async with ScriptedAgent(CUT, Response({"ok": False}), Response({"ok": True})) as scripted:
        job = await house.job(await house.agent(scripted.url))
        results = [await house.execute(job) for _ in range(3)]
        outcomes = [result.execution.outcome for result in results if result.execution]
        unknown, rejected, accepted = (
            ExecutionOutcome.AGENT_OUTCOME_UNKNOWN,
            ExecutionOutcome.REJECTED,
            ExecutionOutcome.ACCEPTED,
        )
        assert outcomes == [unknown, rejected, accepted]
        first, second, third = [request.headers["idempotency-key"] for request in scripted.requests]
        assert first == second != third


async def test_a_re_submission_tells_the_agent_what_to_mend(house: House) -> None:
    async with ScriptedAgent(Response({"ok": False}), Response({"ok": True})) as scripted:
        job = await house.job(await house.agent(scripted.url))
        await house.execute(job)
        result = await house.execute(job)
        assert result.job is not None
        assert result.job.status is JobStatus.COMPLETED
        first, second = [request.json() for request in scripted.requests]
        assert not {"feedback", "failed_criteria", "previous_answer"} & first.keys()
        assert second["previous_answer"] == {"ok": False}
        assert IS_OK.text in second["feedback"]
        (failed,) = second["failed_criteria"]
        assert (failed["id"], failed["text"]) == (job.acceptance_criteria[0].id, IS_OK.text)


async def test_input_that_does_not_fit_is_not_sent(house: House) -> None:
    async with ScriptedAgent() as scripted:
        schema = {"type": "object", "properties": {"pages": {"type": "integer"}}, "required": ["pages"]}
        job = await house.job(await house.agent(scripted.url, input_schema=schema), input={"pages": "many"})
        result = await house.execute(job)
        assert result.job is not None
        assert result.execution is not None
        assert (result.job.status, result.execution.outcome) == (BACK, ExecutionOutcome.INPUT_INVALID)
        assert result.job.notice is not None
        assert "pages" in result.job.notice.message
        assert await house.entries(job) == [*CREATED, "status_change"]
        assert scripted.connections == 0


# ------------------------------------------------------------------------------------------------------ validators


def trouble(kind: ValidatorTroubleKind, **fields: Any) -> ValidatorError:
    return ValidatorError(kind, f"It is {kind.value}.", **fields)


@pytest.mark.parametrize(
    ("verdict", "status", "outcome"),
    [
        (Verdict.PASS, JobStatus.COMPLETED, ExecutionOutcome.ACCEPTED),
        (Verdict.FAIL, RESUBMIT, ExecutionOutcome.REJECTED),
        (Verdict.UNSURE, RESUBMIT, ExecutionOutcome.UNDECIDED),
    ],
)
async def test_a_verdict_decides(
    open_house: OpenHouse, verdict: Verdict, status: JobStatus, outcome: ExecutionOutcome
) -> None:
    async with open_house(validator=FakeValidator(verdict)) as house, ScriptedAgent() as scripted:
        job = await house.job(await house.agent(scripted.url), IS_OK, NEEDS_JUDGEMENT)
        result = await house.execute(job)
        assert result.job is not None
        assert result.execution is not None
        assert (result.job.status, result.execution.outcome) == (status, outcome)
        assert await house.entries(job) == [
            *CREATED,
            "agent_request",
            "agent_response",
            *CHECKED,
            *CHECKED,
            "status_change",
        ]
        (validation,) = await house.container.executions.validations(
            CLIENT, [result.execution.latest_validation_id or ""]
        )
        assert validation is not None
        assert (validation.validator, validation.model, validation.prompt_tokens) == ("fake", "fake-1", 100)
        assert [str(item.verdict) for item in validation.criteria] == ["pass", verdict.value]
        assert await house.violations() == []


async def test_a_failed_code_check_settles_without_asking_the_validator(open_house: OpenHouse) -> None:
    validator = FakeValidator()
    async with open_house(validator=validator) as house, ScriptedAgent(Response({"ok": False})) as scripted:
        job = await house.job(await house.agent(scripted.url), IS_OK, NEEDS_JUDGEMENT)
        result = await house.execute(job)
        assert result.execution is not None
        assert result.execution.outcome is ExecutionOutcome.REJECTED
        assert validator.submissions == []


@pytest.mark.parametrize("kind", [ValidatorTroubleKind.UNAVAILABLE, ValidatorTroubleKind.TIMEOUT])
async def test_a_validator_in_trouble_is_asked_again_by_itself(
    open_house: OpenHouse, kind: ValidatorTroubleKind
) -> None:
    validator = FakeValidator(trouble(kind), trouble(kind), Verdict.PASS)
    async with open_house(validator=validator) as house, ScriptedAgent() as scripted:
        job = await house.job(await house.agent(scripted.url), IS_OK, NEEDS_JUDGEMENT)
        result = await house.execute(job)
        assert result.job is not None
        assert result.job.status is JobStatus.COMPLETED
        status = "timeout" if kind is ValidatorTroubleKind.TIMEOUT else "error"
        failed = ["validator_request", f"validator_response:{status}"]
        assert await house.entries(job) == [
            *CREATED,
            "agent_request",
            "agent_response",
            *CHECKED,
            *failed,
            *failed,
            *CHECKED,
            "status_change",
        ]
        assert len(scripted.requests) == 1
        assert await house.violations() == []


async def put_off(house: House, job: Job) -> tuple[Job, Execution]:
    """Execute a job, and return how it stands once it waits for its validator."""
    execution = (await house.execute(job, wait_seconds=0)).execution
    async with asyncio.timeout(30):
        while execution is None or execution.state is not ExecutionState.WAITING_RETRY:
            await asyncio.sleep(0.01)
            (execution,) = await house.container.executions.get_many(CLIENT, [execution.id if execution else ""])
    now = await house.container.jobs.get(CLIENT, job.id)
    assert now is not None
    return now, execution


async def test_what_an_operator_must_mend_is_told_until_the_validator_answers_again(open_house: OpenHouse) -> None:
    refused = trouble(ValidatorTroubleKind.CONFIG, retry_after_seconds=30)
    validator = FakeValidator(refused, Verdict.PASS)
    async with open_house(validator=validator) as house, ScriptedAgent() as scripted:
        job = await house.job(await house.agent(scripted.url), NEEDS_JUDGEMENT)
        now, _ = await put_off(house, job)
        assert now.status is JobStatus.IN_EXECUTION
        assert now.notice is not None
        assert refused.message in now.notice.message
        assert house.container.validator_health.problem == refused.message
        again = await house.container.executions.retry_validation(CLIENT, job.id, 10)
        assert again.job is not None
        assert again.job.status is JobStatus.COMPLETED
        assert house.container.validator_health.problem is None


async def test_while_the_validator_is_away_the_job_stays_in_execution_and_says_why(open_house: OpenHouse) -> None:
    away = trouble(ValidatorTroubleKind.UNAVAILABLE, retry_after_seconds=30)
    validator = FakeValidator(away, Verdict.PASS)
    async with open_house(validator=validator) as house, ScriptedAgent() as scripted:
        job = await house.job(await house.agent(scripted.url), NEEDS_JUDGEMENT)
        now, execution = await put_off(house, job)
        assert now.status is JobStatus.IN_EXECUTION
        assert execution.next_retry_at is not None
        assert now.notice is not None
        assert now.notice.code is None
        assert away.message in now.notice.message
        # "Validate again" while it waits means now.
        again = await house.container.executions.retry_validation(CLIENT, job.id, 10)
        assert again.job is not None
        assert again.job.status is JobStatus.COMPLETED
        assert len(scripted.requests) == 1


async def test_when_the_deadline_is_spent_it_fails_safely_and_can_be_validated_again(open_house: OpenHouse) -> None:
    away = trouble(ValidatorTroubleKind.UNAVAILABLE, retry_after_seconds=3600)
    validator = FakeValidator(away, Verdict.PASS)
    async with open_house(validator=validator) as house, ScriptedAgent() as scripted:
        job = await house.job(await house.agent(scripted.url), NEEDS_JUDGEMENT)
        result = await house.execute(job)
        assert result.job is not None
        assert result.execution is not None
        assert result.job.status is RESUBMIT
        assert result.execution.outcome is ExecutionOutcome.VALIDATOR_UNAVAILABLE
        response = next(entry for entry in await house.log(job) if entry.type is JobLogType.VALIDATOR_RESPONSE)
        assert (response.status, response.error_code) == (JobLogStatus.ERROR, "exhausted")
        again = await house.container.executions.retry_validation(CLIENT, job.id, 10)
        assert again.job is not None
        assert again.execution is not None
        assert again.job.status is JobStatus.COMPLETED
        assert again.execution.id == result.execution.id
        assert len(scripted.requests) == 1
        assert await house.violations() == []


@pytest.mark.parametrize(
    "kind", [ValidatorTroubleKind.INVALID, ValidatorTroubleKind.TRUNCATED, ValidatorTroubleKind.REFUSED]
)
async def test_a_validator_that_cannot_judge_leaves_it_to_a_person(
    open_house: OpenHouse, kind: ValidatorTroubleKind
) -> None:
    async with open_house(validator=FakeValidator(trouble(kind))) as house, ScriptedAgent() as scripted:
        job = await house.job(await house.agent(scripted.url), NEEDS_JUDGEMENT)
        result = await house.execute(job)
        assert result.job is not None
        assert result.execution is not None
        assert (result.job.status, result.execution.outcome) == (RESUBMIT, ExecutionOutcome.UNDECIDED)
        response = next(entry for entry in await house.log(job) if entry.type is JobLogType.VALIDATOR_RESPONSE)
        assert (response.status, response.error_code) == (JobLogStatus.ERROR, kind.value)
        assert await house.violations() == []


async def test_without_a_key_what_needs_judgement_is_undecided_and_the_notice_names_it(house: House) -> None:
    async with ScriptedAgent() as scripted:
        job = await house.job(await house.agent(scripted.url), NEEDS_JUDGEMENT)
        result = await house.execute(job)
        assert result.job is not None
        assert result.job.status is RESUBMIT
        assert result.job.notice is not None
        assert "OPENAI_API_KEY" in result.job.notice.message


# ---------------------------------------------------------------------------------------------------------- waiting


async def test_zero_seconds_return_at_once_and_the_execution_goes_on(house: House) -> None:
    go = asyncio.Event()
    async with ScriptedAgent(Response({"ok": True}, after=go)) as scripted:
        job = await house.job(await house.agent(scripted.url))
        result = await house.execute(job, wait_seconds=0)
        assert result.job is not None
        assert result.execution is not None
        assert result.job.status is JobStatus.IN_EXECUTION
        go.set()
        finished, _ = await house.container.executions.wait(result.execution.id, 10)
        assert finished.outcome is ExecutionOutcome.ACCEPTED


async def test_a_client_that_leaves_changes_nothing(house: House) -> None:
    go = asyncio.Event()
    async with ScriptedAgent(Response({"ok": True}, after=go)) as scripted:
        job = await house.job(await house.agent(scripted.url))
        pressing = asyncio.create_task(house.execute(job))
        while not scripted.requests:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
        pressing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pressing
        go.set()
        seen = await house.container.jobs.get(CLIENT, job.id)
        assert seen is not None
        (execution,) = await house.container.executions.get_many(CLIENT, [seen.latest_execution_id or ""])
        assert execution is not None
        execution, job = await house.container.executions.wait(execution.id, 10)
        assert execution.outcome is ExecutionOutcome.ACCEPTED
        assert job.status is JobStatus.COMPLETED
        assert len(scripted.requests) == 1


@pytest.mark.parametrize("cancelled", [False, True])
async def test_who_waits_is_told_of_the_end_and_need_not_look(
    house: House, monkeypatch: pytest.MonkeyPatch, *, cancelled: bool
) -> None:
    monkeypatch.setattr(requests, "_POLL_SECONDS", 300)
    async with ScriptedAgent(Response({"ok": True}, delay_seconds=3600 if cancelled else 0.1)) as scripted:
        job = await house.job(await house.agent(scripted.url))
        pressing = asyncio.create_task(house.execute(job, wait_seconds=300))
        while not scripted.requests:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
        if cancelled:
            await house.container.executions.cancel(CLIENT, job.id, None, None)
        async with asyncio.timeout(60):
            result = await pressing
        assert result.execution is not None
        assert result.execution.state is ExecutionState.FINISHED


async def test_cancelling_closes_the_open_request_and_drops_what_arrives_later(house: House) -> None:
    go = asyncio.Event()
    async with ScriptedAgent(Response({"ok": True}, after=go)) as scripted:
        job = await house.job(await house.agent(scripted.url))
        await house.execute(job, wait_seconds=0)
        while not scripted.requests:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
        result = await house.container.executions.cancel(CLIENT, job.id, None, "changed my mind")
        assert result.job is not None
        assert result.job.status is JobStatus.ASSIGNED
        go.set()
        await asyncio.sleep(0.2)
        assert await house.entries(job) == [*CREATED, "agent_request", "agent_response:unknown", "status_change"]
        seen = await house.container.jobs.get(CLIENT, job.id)
        assert seen is not None
        assert seen.status is JobStatus.ASSIGNED
