"""Who judges, what it may cost, and what people are told: the service around its validators."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from app.container import Wiring, open_container
from db import jobs as job_rows
from db.records import Execution, ExecutionOutcome, Job, JobNotice, JobStatus
from services.executions.requests import ExecuteResult, ExecutionPreview
from services.executions.settle import NEXT_STEPS
from services.plugins import Installed
from services.ports import Ask, Reply, Report, Submission, ValidatorError, ValidatorTroubleKind, Verdict
from services.viewer import Viewer
from tests.agents import LOOPBACK, Response, ScriptedAgent
from tests.fakes import FakeValidator
from tests.judge_server import Step, judge_server
from tests.services.conftest import CLIENT, IS_OK, NEEDS_JUDGEMENT, QUICK_RETRIES, House, PlainSecrets

LEFT_OUT = {ExecutionOutcome.ACCEPTED, ExecutionOutcome.REJECTED}


@asynccontextmanager
async def house(url: str, **fields: Any) -> AsyncGenerator[House]:
    wiring = Wiring(url, PlainSecrets(), allowed_networks=LOOPBACK, retry=QUICK_RETRIES, drain_seconds=1)
    async with open_container(replace(wiring, **fields)) as container:
        opened = House(container)
        yield opened
        assert await opened.violations() == []


def done(result: ExecuteResult) -> tuple[Job, Execution, JobNotice | None]:
    assert result.job is not None, result.user_errors
    assert result.execution is not None
    return result.job, result.execution, result.job.notice


async def first_notice(house: House, job: Job) -> JobNotice:
    """What a job that waits tells, as soon as it does."""
    while True:
        now = await house.container.jobs.get(CLIENT, job.id)
        assert now is not None
        if now.notice is not None:
            return now.notice
        await asyncio.sleep(0.01)


async def validated(house: House, execution: Execution, viewer: Viewer = CLIENT) -> Any:
    (validation,) = await house.container.executions.validations(viewer, [execution.latest_validation_id or ""])
    return validation


async def test_everything_that_ends_without_a_verdict_says_what_to_do_next() -> None:
    assert set(ExecutionOutcome) - set(NEXT_STEPS) == LEFT_OUT


async def test_an_agent_may_have_a_validator_of_its_own(sqlite_url: str) -> None:
    async with judge_server() as server, ScriptedAgent() as scripted:
        keys = {"openai_api_key": "sk-test-0123456789", "openai_base_url": server.url}
        async with house(sqlite_url, validator=FakeValidator(Verdict.FAIL), **keys) as opened:
            for validator, status in (("openai", JobStatus.COMPLETED), (None, JobStatus.RESUBMISSION_REQUIRED)):
                agent = await opened.agent(scripted.url, validator=validator)
                job, execution, _ = done(await opened.execute(await opened.job(agent, NEEDS_JUDGEMENT)))

                assert job.status is status
                validation = await validated(opened, execution)
                assert validation.validator == (validator or "fake")
                if validator == "openai":
                    assert (validation.votes, validation.prompt.split("/")[0]) == (1, "judge")
                    assert validation.cost_usd > 0


async def test_a_validator_that_is_gone_is_waited_for_and_named(sqlite_url: str) -> None:
    async with ScriptedAgent() as scripted:
        async with house(sqlite_url, validator=FakeValidator()) as opened:
            job = await opened.job(await opened.agent(scripted.url, validator="fake"), NEEDS_JUDGEMENT)
        async with house(sqlite_url) as opened:
            await opened.execute(job, wait_seconds=0)
            notice = await first_notice(opened, job)
            assert notice.code is None
            assert "'fake'" in notice.message
            assert "not installed here" in notice.message
            await opened.container.executions.cancel(CLIENT, job.id, None, None)


async def test_what_an_execution_may_cost_holds_over_all_its_validations(sqlite_url: str) -> None:
    validator = FakeValidator(Verdict.UNSURE)
    async with ScriptedAgent() as scripted, house(sqlite_url, validator=validator, judge_cost_usd=0.00015) as opened:
        job = await opened.job(await opened.agent(scripted.url), NEEDS_JUDGEMENT)
        await opened.execute(job)
        await opened.container.executions.retry_validation(CLIENT, job.id, 10)
        # Both have cost more by now than may be spent.
        again = await opened.container.executions.retry_validation(CLIENT, job.id, 10)

        _, execution, notice = done(again)
        assert execution.outcome is ExecutionOutcome.UNDECIDED
        assert notice is not None
        assert "SIGNOFF_JUDGE_MAX_COST_USD" in notice.message
        assert len([entry for entry in await opened.entries(job) if entry == "validator_request"]) == 2


@pytest.mark.parametrize(("quote", "verdict"), [("true", Verdict.PASS), ("yes", Verdict.UNSURE)])
async def test_the_quotes_of_every_validator_are_looked_up(sqlite_url: str, quote: str, verdict: Verdict) -> None:
    class Quoting(FakeValidator):
        async def validate(self, submission: Submission, ask: Ask) -> Report:
            report = await super().validate(submission, ask)
            return replace(report, findings=tuple(replace(item, evidence=(quote,)) for item in report.findings))

    async with ScriptedAgent(Response({"ok": True})) as scripted, house(sqlite_url, validator=Quoting()) as opened:
        job = await opened.job(await opened.agent(scripted.url), NEEDS_JUDGEMENT)
        _, execution, _ = done(await opened.execute(job))

        validation = await validated(opened, execution)
        assert validation.verdict == verdict
        assert validation.criteria[0].evidence == (("true",) if verdict is Verdict.PASS else ())


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (Step(status=401), "set OPENAI_API_KEY to one that is valid"),
        (Step(status=429, body={"error": {"code": "insufficient_quota"}}), "add credit"),
        (Step(status=404, body={"error": {"code": "model_not_found"}}), "set SIGNOFF_OPENAI_MODEL"),
        (Step(body="<html>Welcome</html>"), "OPENAI_BASE_URL sends a web page"),
    ],
)
async def test_while_an_operator_must_mend_the_judge_the_owner_is_told_what(
    sqlite_url: str, step: Step, says: str
) -> None:
    async with judge_server() as server, ScriptedAgent() as scripted:
        server.script.append(replace(step, times=1_000))
        keys = {"openai_api_key": "sk-test-0123456789", "openai_base_url": server.url}
        async with house(sqlite_url, **keys) as opened:
            job = await opened.job(await opened.agent(scripted.url), NEEDS_JUDGEMENT)
            await opened.execute(job, wait_seconds=0)
            assert says in (await first_notice(opened, job)).message
            assert opened.container.validator_health.problem is not None
            await opened.container.executions.cancel(CLIENT, job.id, None, None)


async def test_trouble_with_an_agents_own_validator_is_not_the_services(sqlite_url: str) -> None:
    async with judge_server() as server, ScriptedAgent() as scripted:
        server.script.append(Step(status=401, times=1_000))
        keys = {"openai_api_key": "sk-test-0123456789", "openai_base_url": server.url}
        async with house(sqlite_url, validator=FakeValidator(), **keys) as opened:
            job = await opened.job(await opened.agent(scripted.url, validator="openai"), NEEDS_JUDGEMENT)
            await opened.execute(job, wait_seconds=0)
            assert "OPENAI_API_KEY" in (await first_notice(opened, job)).message
            assert opened.container.validator_health.problem is None
            await opened.container.executions.cancel(CLIENT, job.id, None, None)


async def test_a_validator_that_fails_is_named_as_the_one_at_fault(sqlite_url: str) -> None:
    class Broken(FakeValidator):
        async def validate(self, submission: Submission, ask: Ask) -> Report:
            raise ZeroDivisionError

    async with ScriptedAgent() as scripted, house(sqlite_url, validator=Broken()) as opened:
        job = await opened.job(await opened.agent(scripted.url), NEEDS_JUDGEMENT)
        _, execution, notice = done(await opened.execute(job))
        assert execution.outcome is ExecutionOutcome.UNDECIDED
        assert notice is not None
        assert "The validator 'fake' failed with ZeroDivisionError. " in notice.message
        assert notice.message.endswith(NEXT_STEPS[ExecutionOutcome.UNDECIDED])


async def test_a_validator_that_is_refused_leaves_a_doubt_with_what_to_do(sqlite_url: str) -> None:
    refused = ValidatorError(ValidatorTroubleKind.REFUSED, "The model refused to judge.")
    async with ScriptedAgent() as scripted, house(sqlite_url, validator=FakeValidator(refused)) as opened:
        job = await opened.job(await opened.agent(scripted.url), NEEDS_JUDGEMENT)
        _, _, notice = done(await opened.execute(job))
        assert notice is not None
        assert notice.message.endswith(f"The model refused to judge. {NEXT_STEPS[ExecutionOutcome.UNDECIDED]}")


# --------------------------------------------------------------------------------------------- one that is in a hurry


class Hasty(FakeValidator):
    """Comes to its end while it is still asking."""

    def __init__(self, *, fails: bool) -> None:
        super().__init__()
        self.fails = fails
        self.has_asked, self.goes_on = asyncio.Event(), asyncio.Event()
        self.still_asking: asyncio.Future[Any] | None = None
        self.has_sent = False

    async def validate(self, submission: Submission, ask: Ask) -> Report:
        async def send() -> Reply:
            self.has_sent = True
            return Reply({})

        report = await super().validate(submission, ask)
        self.has_asked.set()
        await self.goes_on.wait()
        self.still_asking = asyncio.ensure_future(ask({"another": 1}, send, lambda reply: reply))
        await asyncio.sleep(0.1)
        if self.fails:
            raise ValidatorError(ValidatorTroubleKind.INVALID, "Enough.", code="enough")
        return report


@pytest.mark.parametrize("fails", [True, False])
async def test_what_is_owed_is_written_once_though_a_validator_is_still_asking(
    database_url: str, *, fails: bool
) -> None:
    hasty = Hasty(fails=fails)
    async with ScriptedAgent() as scripted, house(database_url, validator=hasty) as opened:
        job = await opened.job(await opened.agent(scripted.url), NEEDS_JUDGEMENT)
        executing = asyncio.create_task(opened.execute(job))
        async with asyncio.timeout(10):
            await hasty.has_asked.wait()
            async with opened.container.database.begin() as tx:
                # Whoever writes for the job waits meanwhile.
                await job_rows.lock(tx, job.id)
                hasty.goes_on.set()
                await asyncio.sleep(0.3)
            _, execution, _ = done(await executing)
        assert hasty.still_asking is not None
        await asyncio.wait([hasty.still_asking])

    assert not hasty.has_sent
    assert execution.outcome is (ExecutionOutcome.UNDECIDED if fails else ExecutionOutcome.ACCEPTED)


# ------------------------------------------------------------------------------------------------------ the preview


async def previewed(house: House, job: Job) -> ExecutionPreview:
    container = house.container
    preview = await container.executions.preview(
        CLIENT,
        job.id,
        endpoint_problem=container.agents.endpoint_problem,
        can_judge=container.judge_configured,
    )
    assert preview is not None
    return preview


async def test_the_preview_is_what_execute_sends_then_also_to_a_re_submission(sqlite_url: str) -> None:
    async with ScriptedAgent() as scripted, house(sqlite_url, validator=FakeValidator(Verdict.FAIL)) as opened:
        job = await opened.job(await opened.agent(scripted.url), NEEDS_JUDGEMENT)
        preview: Any = None
        for sent in (0, 1):
            preview = await previewed(opened, job)
            assert len(scripted.requests) == sent
            await opened.execute(job)
            assert preview.request["body"] == scripted.requests[-1].json()
        assert preview.request["body"]["failed_criteria"][0]["rationale"] == "The fake says fail."


async def test_the_preview_knows_what_the_agents_own_validator_may_cost(sqlite_url: str) -> None:
    keys: dict[str, Any] = {"openai_api_key": "sk-test-0123456789", "openai_model": "gpt-6-astra"}
    async with ScriptedAgent() as scripted, house(sqlite_url, judge_cost_usd=0.5, **keys) as opened:
        judged = await previewed(opened, await opened.job(await opened.agent(scripted.url), NEEDS_JUDGEMENT))
        checked = await previewed(opened, await opened.job(await opened.agent(scripted.url), IS_OK))
        assert (judged.worst_case_cost_usd, judged.undecidable_criteria) == (0.5, ())
        assert checked.worst_case_cost_usd == 0.0
    broken = [Installed("broken", "theirs 1.0", lambda: None)]
    async with ScriptedAgent() as scripted, house(sqlite_url, plugin_validators=broken, **keys) as opened:
        job = await opened.job(await opened.agent(scripted.url, validator="broken"), NEEDS_JUDGEMENT)
        preview = await previewed(opened, job)
        assert [criterion.text for criterion in preview.undecidable_criteria] == [NEEDS_JUDGEMENT.text]


# ------------------------------------------------------------------------------------------------------- the canary


async def canary(house: House) -> str:
    """What the canary says once it has said something."""
    health = house.container.validator_health
    while health.canary in {None, "running"}:  # noqa: ASYNC110 - it is a value that changes
        await asyncio.sleep(0.01)
    return health.canary or ""


@pytest.mark.parametrize(
    ("outcomes", "says"),
    [
        ((Verdict.PASS, Verdict.FAIL), "ok"),
        ((Verdict.PASS, Verdict.UNSURE), "ok"),
        ((Verdict.PASS,), "Trust no verdict of it"),
        ((Verdict.FAIL,), "did not pass an answer that meets its criterion"),
        ((Verdict.UNSURE,), "did not pass an answer that meets its criterion"),
        ((ValidatorError(ValidatorTroubleKind.REFUSED, "No."),), "no verdict: No."),
    ],
)
async def test_the_canary_tells_whether_the_validator_can_be_trusted(
    sqlite_url: str, outcomes: tuple[Any, ...], says: str
) -> None:
    async with house(sqlite_url, validator=FakeValidator(*outcomes), has_canary=True) as opened:
        assert says in await canary(opened)


async def test_the_canary_goes_on_until_the_judge_is_mended(sqlite_url: str) -> None:
    async with judge_server() as server:
        server.script.append(Step(status=401, times=1_000))
        keys = {"openai_api_key": "sk-test-0123456789", "openai_base_url": server.url}
        async with house(sqlite_url, has_canary=True, **keys) as opened:
            health = opened.container.validator_health
            assert "set OPENAI_API_KEY to one that is valid" in await canary(opened)
            assert health.problem is not None

            server.script.clear()
            while health.canary != "ok":  # noqa: ASYNC110 - it is a value that changes
                await asyncio.sleep(0.01)
            assert health.problem is None


async def test_without_a_key_the_canary_says_what_is_missing(sqlite_url: str) -> None:
    async with house(sqlite_url, has_canary=True) as opened:
        assert "Set OPENAI_API_KEY" in await canary(opened)
