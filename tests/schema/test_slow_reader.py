"""A reader that does not read costs no memory and loses nothing: it is let go, and resumes where it was."""

import asyncio
from contextlib import aclosing

import pytest

from services.refusals import SlowConsumerError
from tests.schema.conftest import Api, Followers, until
from tests.schema.sockets import Socket
from tests.services.conftest import ADMIN, CLIENT, House

EVENTS = 12
PATIENCE_SECONDS = 0.2
APPENDED = "subscription S($id: ID!, $after: String) { jobLogAppended(jobId: $id, after: $after) { cursor } }"


async def job_with_events(house: House) -> str:
    job = await house.job(None)
    for index in range(EVENTS - 1):
        await house.container.jobs.force_resubmission(ADMIN, job.id, f"Reason {index}.")
    return job.id


async def test_a_follower_that_takes_too_long_over_an_event_is_told_where_to_resume(api: Api) -> None:
    house = api.house
    cursor = await house.container.feed.cursor()
    job_id = await job_with_events(house)
    object.__setattr__(house.container.feed, "patience_seconds", 0.05)
    async with aclosing(house.container.feed.follow(CLIENT, job_id, cursor)) as events:
        first = await anext(events)
        await asyncio.sleep(0.1)
        with pytest.raises(SlowConsumerError) as error:
            await anext(events)
    async with aclosing(house.container.feed.follow(CLIENT, job_id, error.value.cursor)) as events:
        second = await anext(events)
    entries = await house.log(await house.container.jobs.get(CLIENT, job_id))  # type: ignore[arg-type]
    assert [first.seq, second.seq] == [entries[0].seq, entries[1].seq]


async def test_a_socket_that_is_not_read_gets_an_error_with_the_cursor(api: Api) -> None:
    cursor = (await api.data("{ feedCursor }"))["feedCursor"]
    job_id = await job_with_events(api.house)
    object.__setattr__(api.house.container.feed, "patience_seconds", PATIENCE_SECONDS)
    seen: list[str] = []
    while len(seen) < 3:
        async with Socket(api.app, room=1) as socket:
            await socket.init(CLIENT.id)
            await socket.subscribe("1", APPENDED, id=job_id, after=seen[-1] if seen else cursor)
            # From here on the app waits for this reader, however late it came to that.
            await socket.stuck()
            await asyncio.sleep(1.5 * PATIENCE_SECONDS)
            while (message := await socket.receive())["type"] == "next":
                seen.append(message["payload"]["data"]["jobLogAppended"]["cursor"])
            assert message["type"] == "error"
            (error,) = message["payload"]
            assert error["extensions"] == {"code": "SLOW_CONSUMER", "cursor": seen[-1]}
    assert len(seen) == len(set(seen))


async def test_a_socket_that_is_not_read_holds_up_no_equal_one_and_misses_nothing(
    api: Api, followers: Followers, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("feed", "tail"):  # small, so that the one is soon before what they share
        monkeypatch.setattr(f"services.{module}.BATCH", 5)
    monkeypatch.setattr("services.feed.KEPT", 10)
    job_id = (await api.house.job(None)).id
    cursor = (await api.data("{ feedCursor }"))["feedCursor"]
    async with Socket(api.app, room=1) as stuck, Socket(api.app) as read:
        for socket in (stuck, read):
            await socket.init(CLIENT.id)
            await socket.subscribe("1", APPENDED, id=job_id, after=cursor)
        await until(lambda: followers.count == 2)
        for _ in range(10):
            await api.house.append(job_id, 6)
        all_ = [await read.next("1") for _ in range(60)]
        await stuck.stuck()
        later = [await stuck.next("1") for _ in range(60)]

    assert later == all_
    assert len({event["jobLogAppended"]["cursor"] for event in all_}) == 60
