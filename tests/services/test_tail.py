"""Followers who ask the same read the log once between them, and each sees what it would have seen alone."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Any, Self

import pytest

from db import logs as log_rows
from db.records import JobLog
from services.cursors import log_cursor
from services.feed import Feed
from services.tail import BATCH, Batch, Offer, Tail
from tests.schema.conftest import until
from tests.services.conftest import ADMIN, CLIENT, House

MANY = 20

sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def feed(house: House) -> Feed:
    return house.container.feed


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The positions that the log was read after."""
    read, seen = log_rows.after, list[int]()

    async def after(tx: Any, scope: Any, position: int, **asked: Any) -> Any:
        seen.append(position)
        return await read(tx, scope, position, **asked)

    monkeypatch.setattr(log_rows, "after", after)
    return seen


async def take(events: AsyncGenerator[JobLog], count: int) -> list[JobLog]:
    async with asyncio.timeout(20):
        return [await anext(events) for _ in range(count)]


@sqlite
async def test_equal_followers_share_one_read_and_its_entries(house: House, feed: Feed, reads: list[int]) -> None:
    job = await house.job(None)
    async with AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(aclosing(feed.follow(CLIENT, job.id, None))) for _ in range(MANY)]
        taking = [asyncio.create_task(take(events, 3)) for events in crowd]
        await house.until_they_wait(MANY)
        reads.clear()
        await house.append(job.id, 3)
        seen = await asyncio.gather(*taking)

    assert len(reads) == 1
    assert all(mine is theirs for entries in seen for mine, theirs in zip(entries, seen[0], strict=True))
    assert feed.sharing == 0
    assert house.container.bus.followers == 0


@sqlite
async def test_followers_of_other_rights_share_nothing(house: House, feed: Feed, reads: list[int]) -> None:
    job = await house.job(None)
    async with (
        aclosing(feed.follow(CLIENT, job.id, None)) as owners,
        aclosing(feed.follow(ADMIN, job.id, None)) as all_,
    ):
        taking = [asyncio.create_task(take(events, 1)) for events in (owners, all_)]
        await house.until_they_wait(2)
        reads.clear()
        await house.append(job.id, 1)
        ((one,), (other,)) = await asyncio.gather(*taking)

    assert len(reads) == 2
    assert one == other
    assert one is not other


@sqlite
async def test_who_comes_later_is_told_nothing_that_was_read_before(house: House, feed: Feed) -> None:
    """What is made of an entry would otherwise be older than what the follower has asked for already."""
    job = await house.job(None)
    start = await feed.cursor()
    async with aclosing(feed.follow(CLIENT, job.id, start)) as early:
        taking = asyncio.create_task(take(early, 1))
        await house.until_they_wait(1)
        await house.append(job.id, 1)
        (first,) = await taking
        async with aclosing(feed.follow(CLIENT, job.id, start)) as late:
            (again,) = await take(late, 1)
            both = [asyncio.create_task(take(events, 1)) for events in (early, late)]
            await house.until_they_wait(2)
            await house.append(job.id, 1)
            ((second,), (shared,)) = await asyncio.gather(*both)

    assert again == first
    assert again is not first
    assert shared is second


@pytest.mark.parametrize("all_jobs", [False, True])
async def test_whoever_comes_when_and_however_slow_sees_each_entry_once_in_order(
    house: House, feed: Feed, monkeypatch: pytest.MonkeyPatch, all_jobs: bool
) -> None:
    for module in ("feed", "tail"):  # small, so that many are before what is kept, and many in between
        monkeypatch.setattr(f"services.{module}.BATCH", 5)
    monkeypatch.setattr("services.feed.KEPT", 8)
    dice = random.Random(7)
    mine, other = [await house.job(None) for _ in range(2)]
    start = await feed.cursor()
    commits = [dice.choice((1, 1, 2, 12)) for _ in range(25)]
    expected = sum(commits) + (len(commits) if all_jobs else 0)

    offered = Counter[int]()

    async def write() -> None:
        for count in commits:
            await house.append(mine.id, count)
            await house.append(other.id, 1)
            await asyncio.sleep(dice.choice((0, 0, 0.002)))

    async def follow(seed: int) -> list[int]:
        """Leaves and comes back now and then, is slow now and then, and takes most of what it is offered."""
        habits = random.Random(seed)
        cursor, seen = start, list[int]()

        def offer(entry: JobLog) -> bool:
            if len(seen) == expected - 1 or habits.random() < 0.2:
                return False
            seen.append(entry.seq)
            offered[seed] += 1
            return True

        while len(seen) < expected:
            async with aclosing(
                feed.follow(ADMIN, None if all_jobs else mine.id, cursor, offer=offer if seed % 4 else None)
            ) as events:
                for _ in range(habits.choice((3, 20, 60, 400))):
                    if len(seen) == expected:
                        break
                    seen.append((await anext(events)).seq)
                    if habits.random() < 0.1:
                        await asyncio.sleep(habits.choice((0, 0.003, 0.01)))
            cursor = log_cursor(seen[-1])
        return seen

    async with asyncio.timeout(60):
        following = asyncio.gather(*(follow(seed) for seed in range(8)))
        await write()
        seen = await following

    assert len(set(seen[0])) == expected
    assert seen[0] == sorted(seen[0])
    assert all(numbers == seen[0] for numbers in seen)
    assert offered[0] == 0
    assert offered.total() > expected // 4  # some are not there when entries come


@sqlite
async def test_a_read_that_fails_ends_those_who_wait_for_it_and_nobody_who_comes_after(
    house: House, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await house.job(None)
    read = log_rows.after

    async def away(*_: object, **__: object) -> Any:
        raise ConnectionRefusedError

    async with AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(aclosing(feed.follow(CLIENT, job.id, None))) for _ in range(3)]
        taking = [asyncio.create_task(take(events, 1)) for events in crowd]
        await house.until_they_wait(3)
        monkeypatch.setattr(log_rows, "after", away)
        await house.append(job.id, 1)
        ended = await asyncio.gather(*taking, return_exceptions=True)
        monkeypatch.setattr(log_rows, "after", read)
        async with aclosing(feed.follow(CLIENT, job.id, log_cursor(0))) as later:
            assert len(await take(later, 2)) == 2

    assert [type(error) for error in ended] == [ConnectionRefusedError] * 3
    assert feed.sharing == 0


class Log:
    """A log in memory, of entries that are numbers, and a bell that rings when the test says so."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.reads = 0
        self.looked = asyncio.Event()
        self._rung = asyncio.Event()

    async def read(self, position: int) -> Batch:
        self.reads += 1
        self.looked.set()
        found: Any = [Number(number) for number in self.numbers if number > position][:BATCH]
        return Batch(found, found[-1].seq if found else position)

    async def present(self) -> int:
        return self.numbers[-1] if self.numbers else 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.numbers.clear()

    def ring(self, *numbers: int) -> None:
        self.numbers += numbers
        self._rung.set()

    def rings_for_others(self) -> None:
        """Somebody else's job has got an entry."""
        self._rung.set()

    async def wait(self, timeout_seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._rung.wait(), timeout_seconds)
        except TimeoutError:
            return False
        self._rung.clear()
        return True


class Number:
    def __init__(self, seq: int) -> None:
        self.seq = seq


async def test_a_tail_keeps_no_more_than_it_was_told_to_and_nothing_for_long() -> None:
    log = Log()
    tail = Tail(log.read, kept=10, poll_seconds=0.05)
    tail.begin(log, log.present)
    await tail.more(0)
    assert tail.end == 0
    log.ring(*range(1, 31))
    await tail.more(0)

    assert tail.after(5) is None
    newest = tail.after(25)
    assert newest is not None
    assert [entry.seq for entry in newest.entries] == [26, 27, 28, 29, 30]

    left, staying = tail.more(0), tail.more(0)
    left.cancel()
    log.rings_for_others()
    await until(lambda: tail._waiting == [staying])  # noqa: SLF001

    left = tail.more(0)
    left.cancel()
    log.looked.clear()
    async with asyncio.timeout(30):
        await log.looked.wait()  # nobody has rung: it looks by itself
    assert tail.after(25) is None
    assert tail._waiting == [staying]  # noqa: SLF001
    await tail.stop()


async def test_who_takes_what_is_offered_is_not_woken_and_who_does_not_is() -> None:
    log, taken = Log(), list[int]()

    def take_up_to(largest: int) -> Offer:
        def offer(entry: JobLog) -> bool:
            if entry.seq > largest:
                return False
            taken.append(entry.seq)
            return True

        return offer

    def fail(_entry: JobLog) -> bool:
        raise ZeroDivisionError

    tail = Tail(log.read, kept=10, poll_seconds=5)
    tail.begin(log, log.present)
    await tail.more(0)
    # One is beyond what there is, as somebody may be who has read it elsewhere.
    takes, ahead = tail.more(0, take_up_to(9)), tail.more(3, take_up_to(9))
    stops, fails = tail.more(0, take_up_to(2)), tail.more(0, fail)
    log.ring(1, 2, 3)

    assert await stops == 2
    with pytest.raises(ZeroDivisionError):
        await fails
    assert taken == [1, 2, 3, 1, 2]
    assert (takes.done(), takes.position, ahead.done(), ahead.position) == (False, 3, False, 3)
    takes.cancel()
    again = tail.more(3)
    log.ring(4)
    assert await again == 3
    assert taken[5:] == [4]
    assert ahead.position == 4
    assert not tail.has_failed
    await tail.stop()


async def test_a_tail_reads_nothing_that_nobody_asks_for() -> None:
    log = Log()
    tail = Tail(log.read, kept=10, poll_seconds=5)
    tail.begin(log, log.present)
    await tail.more(0)
    for number in (1, 2):
        log.ring(number)
        await asyncio.sleep(0.01)
    assert log.reads == 0
    await tail.more(0)
    assert (log.reads, tail.end) == (1, 2)
    await tail.stop()


async def test_of_a_burst_only_some_are_told_before_others_have_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.tail.TOLD_AT_ONCE", 10)
    log = Log()
    tail = Tail(log.read, kept=10, poll_seconds=5)
    tail.begin(log, log.present)
    await tail.more(0)
    crowd = [tail.more(0) for _ in range(6)]
    log.ring(1, 2, 3, 4, 5)
    await crowd[0]
    assert sum(one.done() for one in crowd) < len(crowd)
    async with asyncio.timeout(30):
        await asyncio.gather(*crowd)
    await tail.stop()
