"""Leases, fences and slots: who may work on an execution, and that nobody else can write."""

# A package here would hide the real db from the type checker.
# ruff: noqa: INP001

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from db import agents, executions, jobs
from db.chains import chained
from db.records import EVERYTHING, ExecutionOutcome, Run
from db.session import Database, Transaction
from tests.db.making import age, make_agent, make_execution, make_job, make_queued, scalar

LEASE = 30.0
RUNNER = "in_process"


async def claim(database: Database, owner: str, limit: int = 100, runner: str = RUNNER) -> list[executions.Claimed]:
    async with database.begin() as tx:
        return await executions.claim_due(tx, runner, owner, LEASE, limit)


async def get(database: Database, execution_id: str) -> Run:
    async with database.read() as tx:
        run = await executions.run(tx, execution_id)
    assert run is not None
    return run


async def held(database: Database) -> int:
    async with database.read() as tx:
        count: int = await scalar(tx, "SELECT count(execution_id) FROM agent_slots")
    return count


async def set_maximum(database: Database, agent_id: str, maximum: int) -> None:
    async with database.begin() as tx:
        await agents.change(tx, agent_id, {"max_concurrent_executions": maximum})


async def free(database: Database, execution_ids: Sequence[str]) -> None:
    async with database.begin() as tx:
        for execution_id in execution_ids:
            await chained(tx, executions.freeing_slot(execution_id))


# ----------------------------------------------------------------------------------------------------------- claiming


async def test_what_is_due_longest_is_claimed_first_up_to_the_limit(database: Database) -> None:
    _, queued = await make_queued(database, 5)
    claimed = await claim(database, "one", limit=3)
    assert [item.execution_id for item in claimed] == list(queued[:3])
    assert all(item.queued and item.fence == 1 for item in claimed)
    assert [item.execution_id for item in await claim(database, "two")] == list(queued[3:])


async def test_a_lease_is_not_claimed_before_it_expires_not_even_by_its_owner(database: Database) -> None:
    _, (execution_id,) = await make_queued(database, 1)
    assert len(await claim(database, "one")) == 1
    assert await claim(database, "one") == []
    assert await claim(database, "two") == []
    async with database.begin() as tx:
        assert await executions.claim(tx, execution_id, "two", LEASE) is None
    run = await get(database, execution_id)
    assert (run.fence, run.takeovers) == (1, 0)


async def test_an_expired_lease_is_taken_over_under_a_higher_fence(database: Database) -> None:
    _, (execution_id,) = await make_queued(database, 1)
    await claim(database, "one")
    async with database.begin() as tx:
        await age(tx, execution_id, 1)
    (claimed,) = await claim(database, "two")
    assert (claimed.execution_id, claimed.fence) == (execution_id, 2)
    run = await get(database, execution_id)
    assert (run.fence, run.takeovers) == (2, 1)
    assert await held(database) == 1  # the slot came with it


async def test_what_was_released_is_claimed_at_once_and_is_no_takeover(database: Database) -> None:
    _, queued = await make_queued(database, 2)
    await claim(database, "one", limit=1)
    await claim(database, "two", limit=1)
    async with database.begin() as tx:
        assert await executions.release(tx, "one") == 1
    (claimed,) = await claim(database, "three")
    assert claimed.execution_id == queued[0]
    assert claimed.fence == 3  # raised when it was released, so that its owner writes nothing more
    assert (await get(database, queued[0])).takeovers == 0


async def test_another_runners_executions_are_ignored(database: Database) -> None:
    await make_queued(database, 2, runner="temporal")
    assert await claim(database, "one") == []
    async with database.begin() as tx:
        assert await executions.next_due_seconds(tx, RUNNER) is None
        assert await executions.next_due_seconds(tx, "temporal") == 0.0
    assert len(await claim(database, "worker", runner="temporal")) == 2


async def test_a_finished_execution_is_not_claimed(database: Database) -> None:
    _, (execution_id,) = await make_queued(database, 1)
    async with database.begin() as tx:
        assert await executions.finish(tx, execution_id, 0, ExecutionOutcome.CANCELLED) is not None
    assert await claim(database, "one") == []


async def test_a_wait_is_claimed_when_it_is_over_or_was_ended(database: Database) -> None:
    _, (execution_id,) = await make_queued(database, 1)
    (claimed,) = await claim(database, "one")
    async with database.begin() as tx:
        await executions.keep_answer(tx, execution_id, claimed.fence, {"ok": True}, 60)
        await executions.wait_retry(tx, execution_id, claimed.fence, 60)
    assert await claim(database, "two") == []
    async with database.begin() as tx:
        due = await executions.next_due_seconds(tx, RUNNER)
        assert due is not None
        assert 50 < due <= 60
        assert await executions.retry_now(tx, execution_id, claimed.fence + 1) is not None
    (again,) = await claim(database, "two")
    assert (again.fence, again.queued) == (claimed.fence + 2, False)
    async with database.begin() as tx:  # somebody asks it already
        assert await executions.retry_now(tx, execution_id, again.fence) is None
    assert (await get(database, execution_id)).takeovers == 0


async def test_only_its_own_live_leases_are_renewed(database: Database) -> None:
    _, queued = await make_queued(database, 3)
    (mine,) = await claim(database, "one", limit=1)
    (ended,) = await claim(database, "one", limit=1)
    (others,) = await claim(database, "two", limit=1)
    async with database.begin() as tx:
        await executions.finish(tx, ended.execution_id, ended.fence, ExecutionOutcome.CANCELLED)
        for execution_id in (mine.execution_id, others.execution_id):
            await age(tx, execution_id, 1)
        assert await executions.renew(tx, "one", list(queued), LEASE) == {mine.execution_id}
    # Renewed, it is not up for a take-over any more; the other one is.
    assert [item.execution_id for item in await claim(database, "three")] == [others.execution_id]


async def test_processes_that_claim_at_the_same_time_get_different_executions(database: Database) -> None:
    _, queued = await make_queued(database, 30, max_concurrent_executions=100)
    claims = await asyncio.gather(*(claim(database, f"process {n}", limit=5) for n in range(10)))
    got = Counter(item.execution_id for items in claims for item in items)
    assert max(got.values()) == 1
    left = await claim(database, "last")  # where a lock was in the way, a later look finds it
    assert set(got) | {item.execution_id for item in left} == set(queued)


# -------------------------------------------------------------------------------------------------------------- slots


async def test_an_agent_is_never_called_more_often_at_once_than_it_may(database: Database) -> None:
    _, queued = await make_queued(database, 12, max_concurrent_executions=3)
    done: set[str] = set()
    for _ in range(20):
        claims = await asyncio.gather(*(claim(database, f"process {n}", limit=4) for n in range(6)))
        claimed = [item.execution_id for items in claims for item in items]
        assert len(claimed) == await held(database) <= 3
        done.update(claimed)
        async with database.begin() as tx:
            for execution_id in claimed:
                run = await executions.run(tx, execution_id)
                assert run is not None
                await executions.finish(tx, execution_id, run.fence, ExecutionOutcome.CANCELLED)
                await chained(tx, executions.freeing_slot(execution_id))
        if len(done) == len(queued):
            break
    assert done == set(queued)


async def test_starting_and_claiming_at_the_same_time_share_the_slots(database: Database) -> None:
    agent, queued = await make_queued(database, 4, max_concurrent_executions=2)

    async def take(execution_id: str) -> bool:
        async with database.begin() as tx:
            return await executions.take_slot(tx, agent.id, execution_id)

    results: list[Any] = await asyncio.gather(
        *(take(f"exe_{n}") for n in range(5)), *(claim(database, f"process {n}") for n in range(5))
    )
    taken = sum(result is True for result in results) + sum(len(item) for item in results if isinstance(item, list))
    assert taken == await held(database) == 2
    assert set(queued)


async def test_an_agent_that_is_busy_holds_up_no_other(database: Database) -> None:
    await make_queued(database, 5, max_concurrent_executions=1)
    _, others = await make_queued(database, 2)
    claimed = {item.execution_id for item in await claim(database, "one")}
    assert set(others) <= claimed
    assert len(claimed) == 3


async def test_raising_the_maximum_makes_room_at_once(database: Database) -> None:
    agent, _ = await make_queued(database, 5, max_concurrent_executions=1)
    assert len(await claim(database, "one")) == 1
    assert await claim(database, "one") == []
    await set_maximum(database, agent.id, 4)
    assert len(await claim(database, "one")) == 3
    assert await held(database) == 4


@pytest.mark.parametrize("given_back", [slice(0, 2), slice(1, 3), slice(2, 4)], ids=["low", "middle", "high"])
async def test_lowering_the_maximum_starts_none_until_fewer_are_under_way(
    database: Database, given_back: slice
) -> None:
    agent, _ = await make_queued(database, 10, max_concurrent_executions=4)
    under_way = [item.execution_id for item in await claim(database, "one")]
    assert len(under_way) == 4
    await set_maximum(database, agent.id, 2)
    assert await claim(database, "one") == []
    await free(database, under_way[given_back])
    assert await claim(database, "one") == []  # two are left, which is all that may be
    rest = [execution_id for execution_id in under_way if execution_id not in under_way[given_back]]
    await free(database, rest[:1])
    assert len(await claim(database, "one")) == 1
    await free(database, rest[1:])
    assert len(await claim(database, "one")) == 1
    assert await held(database) == 2
    await set_maximum(database, agent.id, 4)
    assert len(await claim(database, "one")) == 2


async def test_maxima_that_change_at_the_same_time_leave_the_last_ones_slots(database: Database) -> None:
    async with database.begin() as tx:
        agent = await make_agent(tx, max_concurrent_executions=1)
    await asyncio.gather(*(set_maximum(database, agent.id, maximum) for maximum in (5, 2, 9, 3, 7)))
    async with database.read() as tx:
        kept = await agents.get(tx, agent.id)
        assert kept is not None
        assert await scalar(tx, "SELECT count(*) FROM agent_slots") == kept.max_concurrent_executions


# -------------------------------------------------------------------------------------------------------------- fences

Step = Callable[[Transaction, str, int], Awaitable[object]]
STEPS: dict[str, Step] = {
    "sending": lambda tx, id_, fence: executions.sending(tx, id_, fence, "0" * 64),
    "not_answered": lambda tx, id_, fence: executions.not_answered(tx, id_, fence, responded=True),
    "keep_answer": lambda tx, id_, fence: executions.keep_answer(tx, id_, fence, {"late": True}, 60),
    "asking": executions.asking,
    "keeping": executions.keeping,
    "keeping what it cost": lambda tx, id_, fence: executions.keeping(
        tx, id_, fence, calls=1, spent=executions.Spent(1, 1, 1.0)
    ),
    "hand_back": lambda tx, id_, fence: executions.hand_back(tx, id_, fence, 60),
    "wait_retry": lambda tx, id_, fence: executions.wait_retry(tx, id_, fence, 1),
    "finish": lambda tx, id_, fence: executions.finish(tx, id_, fence, ExecutionOutcome.AGENT_FAILED),
    "finish by a verdict": lambda tx, id_, fence: executions.finish(
        tx, id_, fence, ExecutionOutcome.REJECTED, validation_id="val_1", calls=1, spent=executions.Spent(1, 1, 1.0)
    ),
}


@pytest.mark.parametrize("lost", ["taken over", "released", "let go", "ended"])
async def test_a_stale_owner_that_wakes_up_writes_nothing(database: Database, lost: str) -> None:
    _, (execution_id,) = await make_queued(database, 1)
    (claimed,) = await claim(database, "one")
    async with database.begin() as tx:
        if lost == "released":
            await executions.release(tx, "one")
        elif lost == "let go":
            await executions.wait_retry(tx, execution_id, claimed.fence, 60)
        elif lost == "ended":
            await executions.finish(tx, execution_id, claimed.fence, ExecutionOutcome.CANCELLED)
        else:
            await age(tx, execution_id, 1)
    if lost == "taken over":
        await claim(database, "two")
    before = await get(database, execution_id)
    for name, step in STEPS.items():
        async with database.begin() as tx:
            assert not await step(tx, execution_id, claimed.fence), name
    assert await get(database, execution_id) == before


async def test_the_holder_of_the_fence_writes(database: Database) -> None:
    _, queued = await make_queued(database, len(STEPS))
    claimed = await claim(database, "one")
    assert len(claimed) == len(queued)
    for (name, step), held_ in zip(STEPS.items(), claimed, strict=True):
        async with database.begin() as tx:
            assert await step(tx, held_.execution_id, held_.fence), name


async def test_only_a_finished_execution_is_opened_again_under_a_new_fence(database: Database) -> None:
    async with database.begin() as tx:
        agent = await make_agent(tx)
        job = await make_job(tx, agent)
        run = await make_execution(tx, job, agent, lease=("one", LEASE))
        execution_id = run.execution.id
        assert await _reopened(tx, execution_id, job) is None
        await executions.finish(tx, execution_id, run.fence, ExecutionOutcome.UNDECIDED)
        reopened = await _reopened(tx, execution_id, job)
        assert reopened is not None
        assert reopened.fence == run.fence + 2
        assert await _reopened(tx, execution_id, job) is None
        assert not await executions.keeping(tx, execution_id, run.fence)


async def _reopened(tx: Transaction, execution_id: str, job: Any) -> Run | None:
    return await executions.reopen(tx, execution_id, job, runner=RUNNER, deadline_seconds=60, trace_id=None)


# -------------------------------------------------------------------------------------------- handing over to an engine


async def hand_over(database: Database, seconds: float = 60, patience: float = 30) -> list[str]:
    async with database.begin() as tx:
        handed = await executions.hand_over(tx, RUNNER, seconds, patience, 100)
    return [item.execution_id for item in handed]


async def test_what_is_queued_is_handed_over_once_with_a_slot(database: Database) -> None:
    _, queued = await make_queued(database, 3, max_concurrent_executions=2)

    assert await hand_over(database) == list(queued[:2])
    assert await hand_over(database) == []
    assert await held(database) == 2


async def test_what_was_handed_over_is_claimed_by_id_at_once_and_no_take_over_is_counted(database: Database) -> None:
    _, (execution_id,) = await make_queued(database, 1)
    await hand_over(database)

    assert await claim(database, "a sweeper") == []
    async with database.begin() as tx:
        assert await executions.claim(tx, execution_id, "a worker", LEASE) is not None
        assert await executions.claim(tx, execution_id, "another", LEASE) is None
    assert (await get(database, execution_id)).takeovers == 0


async def test_what_was_not_begun_in_time_is_handed_over_again(database: Database) -> None:
    _, (execution_id,) = await make_queued(database, 1)
    await hand_over(database)
    async with database.begin() as tx:
        await age(tx, execution_id, 1)

    assert await hand_over(database) == [execution_id]
    assert (await get(database, execution_id)).takeovers == 0


async def test_what_a_worker_left_behind_is_handed_over_once_patience_is_spent(database: Database) -> None:
    _, (execution_id,) = await make_queued(database, 1)
    await hand_over(database)
    async with database.begin() as tx:
        await executions.claim(tx, execution_id, "a worker", LEASE)
        await age(tx, execution_id, 1)
    assert await hand_over(database) == []
    async with database.begin() as tx:
        await age(tx, execution_id, 60)

    assert await hand_over(database) == [execution_id]
    assert (await get(database, execution_id)).takeovers == 1


async def test_what_did_not_arrive_is_due_again_and_keeps_its_slot(database: Database) -> None:
    _, (execution_id,) = await make_queued(database, 1)
    await hand_over(database)
    async with database.begin() as tx:
        await executions.take_back(tx, [execution_id])

    assert await held(database) == 1
    assert await hand_over(database) == [execution_id]


async def test_only_whoever_claimed_an_execution_last_hands_it_back(database: Database) -> None:
    """Not the same worker either, if it has lost the execution to another step of its own meanwhile."""
    _, (execution_id,) = await make_queued(database, 1)
    await hand_over(database)
    async with database.begin() as tx:
        late = await executions.claim(tx, execution_id, "a worker", LEASE)
        await age(tx, execution_id, 1)
    async with database.begin() as tx:
        last = await executions.claim(tx, execution_id, "a worker", LEASE)
        assert late is not None
        assert last is not None
        assert not await executions.hand_back(tx, execution_id, late.fence, 60)
        standing = await executions.standing(tx, execution_id)
        assert standing is not None
        assert not standing.handed_over
        assert await executions.hand_back(tx, execution_id, last.fence, 60)
        assert not await executions.keeping(tx, execution_id, last.fence)
        standing = await executions.standing(tx, execution_id)
        assert standing is not None
        assert standing.handed_over
        assert 50 < standing.due_seconds <= 60


async def test_what_is_validated_again_is_handed_over_at_once_but_not_what_waits_for_its_validator(
    database: Database,
) -> None:
    _, (execution_id,) = await make_queued(database, 1)
    await hand_over(database)
    async with database.begin() as tx:
        claimed = await executions.claim(tx, execution_id, "a worker", LEASE)
        assert claimed is not None
        await executions.keep_answer(tx, execution_id, claimed.fence, {"ok": True}, 60)
        await executions.wait_retry(tx, execution_id, claimed.fence, 0)
    # Its workflow keeps the time, and is only missed after a while.
    assert await hand_over(database) == []
    async with database.begin() as tx:
        await executions.finish(tx, execution_id, claimed.fence + 1, ExecutionOutcome.UNDECIDED)
        run = await executions.run(tx, execution_id)
        assert run is not None
        job = await jobs.get(tx, EVERYTHING, run.execution.job_id)
        assert await _reopened(tx, execution_id, job) is not None

    assert await hand_over(database) == [execution_id]
