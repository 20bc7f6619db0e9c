"""A client that repeats a mutation under the same key gets what the first one did, and nothing is done twice."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest
from sqlalchemy import text

from db import idempotency
from db.records import ExecutionOutcome, JobStatus
from services.executions.requests import Execute
from services.housekeeping import Housekeeping
from services.inputs import CriterionDraft
from services.jobs import JobDraft, JobEdit
from services.refusals import ErrorCode
from services.viewer import Viewer
from tests.agents import Response, ScriptedAgent
from tests.services.conftest import ADMIN, CLIENT, IS_OK, STRANGER, House

KEY = "once"
CONFLICT = [ErrorCode.IDEMPOTENCY_CONFLICT]


async def count(house: House, table: str) -> int:
    async with house.container.database.read() as tx:
        found: int = (await tx.connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()  # noqa: S608
    return found


# ------------------------------------------------------------------------------------------------------------- execute


async def test_the_same_key_returns_the_same_execution(house: House) -> None:
    async with ScriptedAgent() as scripted:
        job = await house.job(await house.agent(scripted.url))
        first = await house.execute(job, idempotency_key=KEY)
        again = await house.execute(job, idempotency_key=KEY)
        assert first.execution is not None
        assert (first.replayed, again.replayed) == (False, True)
        assert (again.job, again.execution, again.user_errors) == (first.job, first.execution, ())
        assert first.execution.outcome is ExecutionOutcome.ACCEPTED
        assert len(scripted.requests) == 1


async def test_a_repeat_while_it_runs_waits_for_the_first_ones_end(house: House) -> None:
    go = asyncio.Event()
    async with ScriptedAgent(Response({"ok": True}, after=go)) as scripted:
        job = await house.job(await house.agent(scripted.url))
        first = await house.execute(job, idempotency_key=KEY, wait_seconds=0)
        assert first.execution is not None
        assert first.execution.outcome is None
        # How long one waits is not compared.
        repeat = asyncio.create_task(house.execute(job, idempotency_key=KEY, wait_seconds=30))
        await asyncio.sleep(0.2)
        assert not repeat.done()
        go.set()
        again = await repeat
        assert again.replayed
        assert again.job is not None
        assert again.job.status is JobStatus.COMPLETED
        assert len(scripted.requests) == 1


async def test_the_same_key_with_other_arguments_is_a_conflict_and_does_nothing(house: House) -> None:
    async with ScriptedAgent() as scripted:
        agent = await house.agent(scripted.url)
        job, other = await house.job(agent), await house.job(agent)
        await house.execute(job, viewer=ADMIN, idempotency_key=KEY)
        executions = house.container.executions
        same = Execute(job.id, 0, idempotency_key=KEY)
        for command in (
            replace(same, job_id=other.id),
            replace(same, expected_revision=1),
            replace(same, force=True, reason="r"),
            replace(same, reason="r"),
        ):
            refused = await executions.execute(ADMIN, command)
            assert [refusal.code for refusal in refused.user_errors] == CONFLICT
            assert refused.user_errors[0].path == ("idempotencyKey",)
            assert refused.execution is None
        assert (await executions.execute(ADMIN, same)).replayed
        assert await count(house, "executions") == 1


async def test_twenty_at_once_with_one_key_start_one_execution(house: House) -> None:
    async with ScriptedAgent() as scripted:
        job = await house.job(await house.agent(scripted.url))
        results = await asyncio.gather(*(house.execute(job, idempotency_key=KEY) for _ in range(20)))
        assert Counter(result.replayed for result in results) == {False: 1, True: 19}
        assert len({result.execution.id for result in results if result.execution}) == 1
        assert all(result.user_errors == () for result in results)
        assert await count(house, "executions") == len(scripted.requests) == 1


async def test_twenty_at_once_with_one_key_for_two_jobs_start_one_of_them(house: House) -> None:
    async with ScriptedAgent() as scripted:
        agent = await house.agent(scripted.url)
        pair = [await house.job(agent), await house.job(agent)]
        results = await asyncio.gather(*(house.execute(pair[n % 2], idempotency_key=KEY) for n in range(20)))
        refused = [result.user_errors[0].code for result in results if result.user_errors]
        assert refused == CONFLICT * 10
        assert await count(house, "executions") == 1


async def test_a_refusal_is_not_remembered(house: House) -> None:
    async with ScriptedAgent() as scripted:
        job = await house.job(None)
        refused = await house.execute(job, idempotency_key=KEY)
        assert [refusal.code for refusal in refused.user_errors] == [ErrorCode.NOT_EXECUTABLE]
        await house.container.jobs.assign(CLIENT, job.id, (await house.agent(scripted.url)).id)
        result = await house.execute(job, idempotency_key=KEY)
        assert (result.replayed, result.user_errors) == (False, ())
        assert result.job is not None
        assert result.job.status is JobStatus.COMPLETED


async def test_a_key_is_its_persons_and_its_mutations_own(house: House) -> None:
    async with ScriptedAgent() as scripted:
        agent = await house.agent(scripted.url)
        created = await house.container.jobs.create(
            CLIENT, JobDraft("A job", [IS_OK], agent_id=agent.id, idempotency_key=KEY)
        )
        assert created.job is not None
        mine = await house.execute(created.job, idempotency_key=KEY)
        theirs = await house.execute(await house.job(agent, viewer=STRANGER), viewer=STRANGER, idempotency_key=KEY)
        admins = await house.execute(await house.job(agent), viewer=ADMIN, idempotency_key=KEY)
        for result in (mine, theirs, admins):
            assert (result.replayed, result.user_errors) == (False, ())
        assert await count(house, "executions") == len(scripted.requests) == 3


async def test_a_replay_shows_the_job_as_it_is_now(house: House) -> None:
    async with ScriptedAgent(Response({"ok": False})) as scripted:
        job = await house.job(await house.agent(scripted.url))
        first = await house.execute(job, idempotency_key=KEY)
        await house.container.jobs.update(CLIENT, job.id, JobEdit(1, title="Another title"))
        again = await house.execute(job, idempotency_key=KEY)
        assert again.job is not None
        assert (again.replayed, again.job.title, again.execution) == (True, "Another title", first.execution)


async def test_after_a_day_a_key_is_new_again_and_old_ones_are_forgotten(house: House) -> None:
    async with ScriptedAgent(Response({"ok": False})) as scripted:
        job = await house.job(await house.agent(scripted.url))
        await house.execute(job, idempotency_key=KEY)
        await house.execute(job, idempotency_key="another")
        async with house.container.database.begin() as tx:
            await tx.connection.execute(text("UPDATE idempotency_keys SET created_at = '2020-01-01 00:00:00.000000'"))
        result = await house.execute(job, idempotency_key=KEY)
        assert (result.replayed, result.user_errors) == (False, ())
        async with house.container.database.begin() as tx:
            assert await idempotency.forget_old(tx, 10) == 1
        assert await count(house, "idempotency_keys") == 1


# -------------------------------------------------------------------------------------------------------------- create


async def test_the_same_key_creates_one_job(house: House) -> None:
    draft = JobDraft("A job", [IS_OK], input={"a": 1, "b": [2]}, idempotency_key=KEY)
    results = await asyncio.gather(*(house.container.jobs.create(CLIENT, draft) for _ in range(20)))
    assert Counter(result.replayed for result in results) == {False: 1, True: 19}
    assert len({result.job.id for result in results if result.job}) == 1
    assert await count(house, "jobs") == 1
    reordered = await house.container.jobs.create(CLIENT, replace(draft, input={"b": [2], "a": 1}))
    assert reordered.replayed


async def test_a_job_that_differs_in_anything_is_a_conflict(house: House) -> None:
    async with ScriptedAgent() as scripted:
        agent = await house.agent(scripted.url)
        draft = JobDraft("A job", [IS_OK], input={"a": 1}, idempotency_key=KEY)
        first = await house.container.jobs.create(ADMIN, draft)
        for other in (
            replace(draft, title="Another job"),
            replace(draft, description="Described"),
            replace(draft, input={"a": 1.0}),
            replace(draft, input={"a": True}),
            replace(draft, input=None),
            replace(draft, agent_id=agent.id),
            replace(draft, owner_id=CLIENT.id),
            replace(draft, acceptance_criteria=[IS_OK, IS_OK]),
            replace(draft, acceptance_criteria=[replace(IS_OK, required=True, expression="true")]),
            replace(draft, acceptance_criteria=[CriterionDraft(IS_OK.text)]),
        ):
            refused = await house.container.jobs.create(ADMIN, other)
            assert [refusal.code for refusal in refused.user_errors] == CONFLICT, other
        assert await count(house, "jobs") == 1
        again = await house.container.jobs.create(ADMIN, draft)
        assert (again.replayed, again.job) == (True, first.job)


async def test_a_refused_job_leaves_its_key_free(house: House) -> None:
    draft = JobDraft("", [IS_OK], idempotency_key=KEY)
    assert (await house.container.jobs.create(CLIENT, draft)).job is None
    made = await house.container.jobs.create(CLIENT, replace(draft, title="A job"))
    assert (made.replayed, made.user_errors) == (False, ())


async def test_people_whose_names_run_into_each_other_share_no_keys(house: House) -> None:
    one, two = Viewer("a", "A", CLIENT.role), Viewer("a\x1fcreateJob", "B", CLIENT.role)
    made = await asyncio.gather(
        house.container.jobs.create(one, JobDraft("A job", [IS_OK], idempotency_key="createJob\x1fk")),
        house.container.jobs.create(two, JobDraft("A job", [IS_OK], idempotency_key="k")),
    )
    assert [result.replayed for result in made] == [False, False]


async def test_old_keys_are_forgotten_a_batch_at_a_time_by_themselves(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.housekeeping.BATCH", 2)
    for number in range(5):
        job = await house.job(None)
        await house.container.jobs.assign(CLIENT, job.id, (await house.agent("http://127.0.0.1:9/")).id)
        await house.execute(job, wait_seconds=0, idempotency_key=f"old-{number}")
    async with house.container.database.begin() as tx:
        await tx.connection.execute(text("UPDATE idempotency_keys SET created_at = '2020-01-01 00:00:00.000000'"))
    recent = await house.job(await house.agent("http://127.0.0.1:9/"))
    await house.execute(recent, wait_seconds=0, idempotency_key="recent")

    async with house.container.database.begin() as tx:
        assert await idempotency.forget_old(tx, 2) == 2
    async with Housekeeping(house.container.database, forget_every_seconds=0.01).run(), asyncio.timeout(20):
        while await count(house, "idempotency_keys") > 1:  # noqa: ASYNC110 - it rings no bell
            await asyncio.sleep(0.02)
