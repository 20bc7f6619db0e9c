"""The design's table of status changes, against the real services: what leads where, who may, and what it leaves."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any, TypeAlias

import pytest

from db.records import (
    Agent,
    ExecutionOutcome,
    ExecutionState,
    Job,
    JobLog,
    JobLogType,
    JobStatus,
    JsonValue,
    Verdict,
)
from services.executions.requests import Execute
from services.inputs import CriterionDraft
from services.jobs import JobDraft, JobEdit
from services.lifecycle import TRANSITIONS, Cause, JobAction
from services.refusals import ErrorCode, Refusal
from services.viewer import Viewer
from tests.services.bench import (
    FORCED,
    OVERRIDES,
    REASON,
    SITUATIONS,
    Bench,
    assigned,
    back_after_a_failure,
    calling_the_agent,
    completed,
    completed_and_forced_again,
    open_bench,
    pending,
    rejected,
    undecided,
    undecided_and_edited,
    unusable,
    validating,
    waiting,
)
from tests.services.conftest import ADMIN, CLIENT, STRANGER, OpenHouse

Subtests: TypeAlias = pytest.Subtests
PENDING, ASSIGNED, RUNNING, RESUBMIT, COMPLETED = (
    JobStatus.PENDING,
    JobStatus.ASSIGNED,
    JobStatus.IN_EXECUTION,
    JobStatus.RESUBMISSION_REQUIRED,
    JobStatus.COMPLETED,
)
NOT_IN_STATUS = {ErrorCode.NOT_EXECUTABLE, ErrorCode.NOT_ALLOWED_IN_STATUS, ErrorCode.FORBIDDEN}


@pytest.fixture
async def bench(open_house: OpenHouse) -> AsyncGenerator[Bench]:
    async with open_bench(open_house) as bench:
        yield bench


async def changes(bench: Bench, job: Job) -> list[tuple[JobStatus | None, JobStatus | None, str | None]]:
    """Every status change of the job: from, to, and who."""
    return [
        (entry.from_status, entry.to_status, entry.actor.id)
        for entry in await bench.house.log(job)
        if entry.type is JobLogType.STATUS_CHANGE
    ]


async def entries(bench: Bench, job: Job, type_: JobLogType) -> list[JobLog]:
    return [entry for entry in await bench.house.log(job) if entry.type is type_]


def codes(refusals: tuple[Refusal, ...]) -> list[ErrorCode]:
    return [refusal.code for refusal in refusals]


# --------------------------------------------------------------------------------------------------- the whole table


async def test_what_is_listed_as_available_is_what_the_mutations_allow(bench: Bench) -> None:
    wrong: list[str] = []
    for situation, (status, owners, admins) in SITUATIONS.items():
        for viewer, wanted in ((CLIENT, owners), (ADMIN, owners | admins)):
            untouched = await situation(bench)
            for action in JobAction:
                allowed = action in wanted
                job = await situation(bench) if allowed else untouched  # what is refused changes nothing
                assert job.status is status
                listed = action in await available(bench, viewer, job)
                result = await bench.do(action, viewer, job)
                refused = bool(NOT_IN_STATUS.intersection(codes(result.user_errors)))
                if (listed, refused) != (allowed, not allowed) or (allowed and result.user_errors):
                    name = f"{situation.__name__}, {viewer.role.value}, {action.value}"
                    wrong.append(f"{name}: listed {listed}, {result.user_errors}")
                elif not allowed:
                    assert unchanged(await bench.get(job), job)
    assert wrong == []


def unchanged(now: Job, before: Job) -> bool:
    return replace(now, stored_notice=before.stored_notice, updated_at=before.updated_at) == before


async def available(bench: Bench, viewer: Viewer, job: Job) -> list[JobAction]:
    agent: Agent | None = None
    if job.agent_id is not None:
        (agent,) = await bench.house.container.agents.get_many([job.agent_id])
    return bench.house.container.jobs.available_actions(viewer, job, agent, await bench.latest(job))


async def test_a_stranger_learns_nothing_and_changes_nothing(bench: Bench, subtests: Subtests) -> None:
    for situation in (assigned, validating, undecided, completed):
        with subtests.test(situation=situation.__name__):
            job = await situation(bench)
            unknown = replace(job, id=job.id[:-4] + "0000")
            before = await bench.house.entries(job)
            for action in JobAction:
                result = await bench.do(action, STRANGER, job)
                code = ErrorCode.FORBIDDEN if action in FORCED else ErrorCode.NOT_FOUND
                assert result.job is None
                assert codes(result.user_errors) == [code]
                of_unknown = await bench.do(action, STRANGER, unknown)
                told = result.user_errors[0].message.replace(job.id, unknown.id)
                assert (of_unknown.job, told) == (None, of_unknown.user_errors[0].message)
            assert await bench.house.entries(job) == before


def test_nobody_leaves_or_enters_in_execution_but_by_an_execution() -> None:
    into = {cause for cause, (_, targets) in TRANSITIONS.items() if RUNNING in targets}
    out_of = {cause for cause, (sources, _) in TRANSITIONS.items() if RUNNING in sources}
    assert into == {Cause.EXECUTE, Cause.FORCE_EXECUTE, Cause.RETRY_VALIDATION}
    assert out_of == {Cause.SETTLE, Cause.RESTORE}


# ------------------------------------------------------------------------------------------------------------ the rows


async def test_a_job_is_created_pending_and_with_an_agent_assigned_at_once(bench: Bench) -> None:
    job = await pending(bench)
    assert (job.status, job.revision) == (PENDING, 1)
    assert await changes(bench, job) == [(None, PENDING, CLIENT.id)]
    job = await assigned(bench)
    assert (job.status, job.revision) == (ASSIGNED, 1)
    assert await changes(bench, job) == [(None, PENDING, CLIENT.id), (PENDING, ASSIGNED, CLIENT.id)]


async def test_assigning_an_agent_leads_from_pending_to_assigned(bench: Bench, subtests: Subtests) -> None:
    for viewer in (CLIENT, ADMIN):
        with subtests.test(viewer=viewer.name):
            job = await pending(bench)
            result = await bench.house.container.jobs.assign(viewer, job.id, bench.agent.id, expected_revision=1)
            assert result.job is not None
            assert (result.job.status, result.job.revision, result.job.agent_id) == (ASSIGNED, 2, bench.agent.id)
            assert (await changes(bench, job))[-1] == (PENDING, ASSIGNED, viewer.id)
            assert await entries(bench, job, JobLogType.JOB_EDIT) == []


async def test_assigning_another_agent_keeps_the_status_and_is_an_edit(bench: Bench, subtests: Subtests) -> None:
    for situation in (assigned, rejected):
        with subtests.test(situation=situation.__name__):
            job = await situation(bench)
            before = await changes(bench, job)
            result = await bench.house.container.jobs.assign(CLIENT, job.id, bench.other_agent.id)
            assert result.job is not None
            assert (result.job.status, result.job.revision) == (job.status, job.revision + 1)
            assert await changes(bench, job) == before
            (edit,) = await entries(bench, job, JobLogType.JOB_EDIT)
            assert edit.actor.id == CLIENT.id


async def test_an_edit_keeps_the_status_raises_the_revision_and_is_logged(bench: Bench, subtests: Subtests) -> None:
    for situation in (pending, assigned, back_after_a_failure, rejected):
        with subtests.test(situation=situation.__name__):
            job = await situation(bench)
            before = await changes(bench, job)
            edit = JobEdit(job.revision, title="Another", acceptance_criteria=[CriterionDraft("It is short.")])
            result = await bench.house.container.jobs.update(CLIENT, job.id, edit)
            assert result.job is not None
            assert (result.job.status, result.job.revision, result.job.title) == (
                job.status,
                job.revision + 1,
                "Another",
            )
            assert result.job.acceptance_criteria[0].id != job.acceptance_criteria[0].id
            assert await changes(bench, job) == before
            (entry,) = await entries(bench, job, JobLogType.JOB_EDIT)
            assert entry.payload == {"fields": ["title", "acceptance_criteria"]}


async def test_executing_leads_to_in_execution(bench: Bench, subtests: Subtests) -> None:
    for viewer in (CLIENT, ADMIN):
        for situation in (assigned, rejected, undecided, unusable):
            with subtests.test(viewer=viewer.name, situation=situation.__name__):
                job = await situation(bench)
                running = await bench.running(job, ExecutionState.CALLING_AGENT, agent="hangs", viewer=viewer)
                assert (running.status, running.result, running.notice) == (RUNNING, None, None)
                assert running.revision == job.revision
                assert (await changes(bench, job))[-1] == (job.status, RUNNING, viewer.id)
                assert await entries(bench, job, JobLogType.ADMIN_ACTION) == []


ENDINGS = {
    "accepted": ("ok", "pass", ExecutionOutcome.ACCEPTED, COMPLETED),
    "rejected": ("ok", "fail", ExecutionOutcome.REJECTED, RESUBMIT),
    "undecided": ("ok", "unsure", ExecutionOutcome.UNDECIDED, RESUBMIT),
    "unusable answer": ("null", "pass", ExecutionOutcome.OUTPUT_INVALID, RESUBMIT),
    "agent failed": ("fails", "pass", ExecutionOutcome.AGENT_FAILED, None),
}


async def test_an_execution_leads_where_its_outcome_says(bench: Bench, subtests: Subtests) -> None:
    for agent, judge, outcome, to in ENDINGS.values():
        for situation in (assigned, rejected):
            with subtests.test(agent=agent, judge=judge, outcome=outcome, to=to, situation=situation.__name__):
                job = await situation(bench)
                after = await bench.executed(job, agent=agent, judge=judge)
                execution = await bench.latest(job)
                assert execution is not None
                assert (after.status, execution.outcome) == (to or job.status, outcome)
                assert (await changes(bench, job))[-2:] == [
                    (job.status, RUNNING, CLIENT.id),
                    (RUNNING, to or job.status, None),
                ]
                assert (after.result is not None) == (to is COMPLETED)
                assert (after.notice is None) == (to is COMPLETED)


async def test_cancelling_leads_back_and_frees_whoever_works_on_it(bench: Bench, subtests: Subtests) -> None:
    for viewer in (CLIENT, ADMIN):
        for situation in (calling_the_agent, validating, waiting):
            with subtests.test(viewer=viewer.name, situation=situation.__name__):
                job = await situation(bench)
                result = await bench.house.container.executions.cancel(
                    viewer, job.id, job.latest_execution_id, "not needed"
                )
                assert result.job is not None
                assert (result.job.status, result.user_errors) == (ASSIGNED, ())
                execution = await bench.latest(job)
                assert execution is not None
                assert execution.outcome is ExecutionOutcome.CANCELLED
                assert (await changes(bench, job))[-1] == (RUNNING, ASSIGNED, viewer.id)
                assert result.job.notice is not None
                assert "not needed" in result.job.notice.message
                async with asyncio.timeout(30):
                    while bench.house.container.runner.in_flight:  # noqa: ASYNC110 - it rings no bell
                        await asyncio.sleep(0.01)
                assert await bench.executed(job) is not None


async def test_cancelling_what_is_not_the_live_execution_cancels_nothing(bench: Bench, subtests: Subtests) -> None:
    for which in ("earlier", "another job's", "no id", ""):
        with subtests.test(which=which):
            job = await back_after_a_failure(bench)
            earlier = job.latest_execution_id
            other = await calling_the_agent(bench)
            job = await bench.running(job, ExecutionState.CALLING_AGENT, agent="hangs")
            execution_id = {"earlier": earlier, "another job's": other.latest_execution_id}.get(which, which)
            result = await bench.house.container.executions.cancel(CLIENT, job.id, execution_id, None)
            (refusal,) = result.user_errors
            assert (refusal.code, refusal.path) == (ErrorCode.NOT_ALLOWED_IN_STATUS, ("executionId",))
            assert (await bench.get(job)).status is (await bench.get(other)).status is RUNNING


# --------------------------------------------------------------------------------------------- restoring, superseding


async def test_a_forced_run_of_a_completed_job_that_fails_gives_its_result_back(bench: Bench) -> None:
    job = await completed(bench)
    running = await completed_and_forced_again(bench)
    assert (running.status, running.result) == (RUNNING, None)
    for agent in ("fails", "null"):
        after = await bench.executed(job, agent=agent, viewer=ADMIN, force=True, reason=REASON)
        if agent == "fails":
            assert (after.status, after.result) == (COMPLETED, job.result)
            assert after.notice is not None
            assert after.notice.code is ExecutionOutcome.AGENT_FAILED
        else:  # what was judged is judged: the answer cannot be used
            assert (after.status, after.result) == (RESUBMIT, None)


async def test_cancelling_a_forced_run_gives_the_result_back(bench: Bench) -> None:
    job = await completed_and_forced_again(bench)
    result = await bench.house.container.executions.cancel(ADMIN, job.id, None, None)
    assert result.job is not None
    assert result.job.status is COMPLETED
    assert result.job.result == {"ok": True, "n": 1}


async def test_cancelling_a_second_validation_leads_back_to_re_submission(bench: Bench) -> None:
    job = await undecided(bench)
    bench.judge.says = "hangs"
    await bench.do(JobAction.RETRY_VALIDATION, CLIENT, job)
    result = await bench.do(JobAction.CANCEL, CLIENT, job)
    assert result.job is not None
    assert (result.job.status, result.job.result) == (RESUBMIT, None)
    assert await available(bench, CLIENT, result.job) == [JobAction.EDIT, JobAction.ASSIGN, JobAction.EXECUTE]


async def test_superseding_writes_two_changes_back_and_on(bench: Bench, subtests: Subtests) -> None:
    for action in sorted(FORCED):
        for situation in (calling_the_agent, validating, waiting, completed_and_forced_again):
            with subtests.test(action=action, situation=situation.__name__):
                job = await situation(bench)
                superseded = job.latest_execution_id or ""
                status_before = COMPLETED if situation is completed_and_forced_again else ASSIGNED
                before = await changes(bench, job)
                bench.agent_does = "hangs"
                result = await bench.do(action, ADMIN, job)
                assert result.job is not None
                to = {
                    JobAction.FORCE_ASSIGN: ASSIGNED,
                    JobAction.FORCE_COMPLETE: COMPLETED,
                    JobAction.FORCE_RESUBMISSION: RESUBMIT,
                    JobAction.FORCE_EXECUTE: RUNNING,
                }[action]
                assert result.job.status is to
                back: list[Any] = [(RUNNING, status_before, ADMIN.id)]
                on: list[Any] = [] if to is status_before else [(status_before, to, ADMIN.id)]
                assert await changes(bench, job) == [*before, *back, *on]
                (execution,) = await bench.house.container.executions.get_many(ADMIN, [superseded])
                assert execution is not None
                assert execution.outcome is ExecutionOutcome.SUPERSEDED


# ----------------------------------------------------------------------------------------------------------- overrides


async def test_an_override_leads_there_from_anywhere_and_logs_who_and_why(bench: Bench, subtests: Subtests) -> None:
    for action in sorted(OVERRIDES):
        for situation in (pending, assigned, validating, rejected, completed):
            with subtests.test(action=action, situation=situation.__name__):
                job = await situation(bench)
                result = await bench.do(action, ADMIN, job)
                assert result.job is not None
                now = result.job
                edits = await entries(bench, job, JobLogType.JOB_EDIT)
                if action is JobAction.FORCE_COMPLETE:
                    assert (now.status, now.result, now.notice, now.revision) == (
                        COMPLETED,
                        {"by": "hand"},
                        None,
                        job.revision,
                    )
                elif action is JobAction.FORCE_RESUBMISSION:
                    assert (now.status, now.result, now.revision) == (RESUBMIT, None, job.revision)
                    assert now.notice is not None
                    assert REASON in now.notice.message
                else:
                    assert (now.status, now.result, now.notice) == (ASSIGNED, None, None)
                    assert (now.agent_id, now.revision) == (bench.other_agent.id, job.revision + 1)
                same_status = situation in {assigned, validating} and action is JobAction.FORCE_ASSIGN
                assert len(edits) == (1 if same_status else 0)
                (entry,) = await entries(bench, job, JobLogType.ADMIN_ACTION)
                assert (entry.actor.id, REASON in entry.message) == (ADMIN.id, True)
                assert isinstance(entry.payload, dict)
                assert (entry.payload["action"], entry.payload["reason"]) == (action.name, REASON)


async def test_a_forced_run_logs_who_and_why(bench: Bench) -> None:
    job = await completed(bench)
    await bench.executed(job, viewer=ADMIN, force=True, reason=REASON)
    (entry,) = await entries(bench, job, JobLogType.ADMIN_ACTION)
    assert isinstance(entry.payload, dict)
    assert (entry.actor.id, entry.payload["action"], entry.payload["reason"]) == (ADMIN.id, "FORCE_EXECUTE", REASON)
    assert (await bench.get(job)).status is COMPLETED


async def test_completing_without_a_result_takes_the_kept_answer(bench: Bench) -> None:
    jobs = bench.house.container.jobs
    job = await rejected(bench)
    result = await jobs.force_complete(ADMIN, job.id, None, REASON)
    assert result.job is not None
    assert (result.job.status, result.job.result) == (COMPLETED, {"ok": True, "n": 1})
    job = await back_after_a_failure(bench)
    refused = await jobs.force_complete(ADMIN, job.id, None, REASON)
    assert [(refusal.code, refusal.path) for refusal in refused.user_errors] == [(ErrorCode.INVALID_INPUT, ("result",))]
    assert unchanged(await bench.get(job), job)


async def test_a_falsy_answer_is_a_result(bench: Bench, subtests: Subtests) -> None:
    falsies: list[JsonValue] = [0, False, "", [], {}]
    for falsy in falsies:
        with subtests.test(falsy=falsy):
            job = await pending(bench)
            result = await bench.house.container.jobs.force_complete(ADMIN, job.id, falsy, REASON)
            assert result.job is not None
            assert (result.job.status, result.job.result) == (COMPLETED, falsy)


async def test_a_job_on_behalf_of_an_owner_is_theirs(bench: Bench) -> None:
    draft = JobDraft("A job", [CriterionDraft("It is right.")], owner_id=STRANGER.id)
    refused = await bench.house.container.jobs.create(CLIENT, draft)
    assert codes(refused.user_errors) == [ErrorCode.FORBIDDEN]
    made = await bench.house.container.jobs.create(ADMIN, draft)
    assert made.job is not None
    assert await bench.house.container.jobs.get(STRANGER, made.job.id) == made.job
    assert await bench.house.container.jobs.get(CLIENT, made.job.id) is None
    assert await changes(bench, made.job) == [(None, PENDING, ADMIN.id)]


# --------------------------------------------------------------------------------------------------- validating again


async def test_nobody_rolls_a_verdict_again(bench: Bench, subtests: Subtests) -> None:
    for situation in (rejected, unusable, undecided_and_edited, completed, assigned, pending, calling_the_agent):
        with subtests.test(situation=situation.__name__):
            job = await situation(bench)
            calls = bench.judge.calls
            for viewer in (CLIENT, ADMIN):
                result = await bench.house.container.executions.retry_validation(viewer, job.id, 0)
                assert codes(result.user_errors) == [ErrorCode.NOT_ALLOWED_IN_STATUS]
            assert bench.judge.calls == calls
            assert unchanged(await bench.get(job), job)


async def test_what_was_undecided_is_validated_again_without_calling_the_agent(bench: Bench) -> None:
    job = await undecided(bench)
    before = await bench.latest(job)
    bench.judge.says = "pass"
    result = await bench.house.container.executions.retry_validation(CLIENT, job.id, 10)
    assert result.job is not None
    assert result.execution is not None
    assert before is not None
    assert (result.job.status, result.execution.id, bench.sent) == (COMPLETED, before.id, 1)
    assert (await changes(bench, job))[-2:] == [(RESUBMIT, RUNNING, CLIENT.id), (RUNNING, COMPLETED, None)]
    (found,) = await bench.house.container.executions.validations(CLIENT, [result.execution.latest_validation_id or ""])
    assert found is not None
    assert (found.number, found.verdict) == (2, Verdict.PASS)


async def test_while_it_is_validated_a_retry_joins_and_asks_nobody_twice(bench: Bench) -> None:
    job = await validating(bench)
    joined = await asyncio.gather(
        *(bench.house.container.executions.retry_validation(CLIENT, job.id, 0) for _ in range(5))
    )
    assert all(result.user_errors == () for result in joined)
    await asyncio.sleep(0.1)
    assert bench.judge.calls == 1


async def test_while_it_waits_a_retry_means_now_once(bench: Bench) -> None:
    job = await waiting(bench)
    calls = bench.judge.calls
    bench.judge.says = "pass"
    results = await asyncio.gather(
        *(bench.house.container.executions.retry_validation(CLIENT, job.id, 10) for _ in range(5))
    )
    statuses = {result.job.status for result in results if result.job}
    # Whoever came after the verdict was refused; nobody asked a second time.
    assert COMPLETED in statuses
    assert bench.judge.calls == calls + 1


async def test_a_retry_that_races_an_execute_loses_or_wins_whole(bench: Bench) -> None:
    for _ in range(5):
        job = await undecided(bench)
        bench.judge.says = "pass"
        retried, executed = await asyncio.gather(
            bench.house.container.executions.retry_validation(CLIENT, job.id, 10),
            bench.house.container.executions.execute(CLIENT, Execute(job.id, wait_seconds=10)),
        )
        # The retry may join the execution that was first, or find it finished; an Execute never joins.
        assert not (retried.user_errors and executed.user_errors)
        assert (await bench.get(job)).status is COMPLETED
