"""graphql-transport-ws: subscriptions, everything else over it, and what happens to those who break its rules."""

import asyncio
import gc
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets

from services.cursors import log_cursor
from services.ids import JOB, new_id
from services.lifecycle import Lifecycle
from services.viewer import Viewer
from tests.schema.conftest import BRIEF, Api, Followers, comparing, until
from tests.schema.sockets import PROTOCOL, Closed, Socket
from tests.schema.test_jobs_api import CREATE, EXECUTE, IS_OK, new_agent, new_job
from tests.services.conftest import ADMIN, CLIENT, STRANGER

CHANGES = """
subscription S($id: ID, $after: String) { jobStatusChanged(jobId: $id, after: $after) {
  cursor jobId fromStatus toStatus timestamp actor { id } execution { number } job { status }
} }
"""
LOGS = "subscription S($id: ID!, $after: String) { jobLogAppended(jobId: $id, after: $after) { cursor log { type } } }"


@asynccontextmanager
async def connected(api: Api, viewer: Viewer | None = CLIENT) -> AsyncGenerator[Socket]:
    async with Socket(api.app) as socket:
        assert (await socket.init(None if viewer is None else viewer.id))["type"] == "connection_ack"
        yield socket


async def change(socket: Socket, id_: str = "1") -> dict[str, Any]:
    event: dict[str, Any] = (await socket.next(id_))["jobStatusChanged"]
    return event


# --------------------------------------------------------------------------------------------------- subscriptions


async def test_an_execution_is_followed_live(api: Api) -> None:
    job_id = await new_job(api, await new_agent(api))
    async with connected(api) as socket:
        await socket.subscribe("1", CHANGES, id=job_id)
        await api.house.until_they_wait(1)  # without a cursor, events are those from now on
        await api.data(EXECUTE, input={"jobId": job_id})

        started, ended = await change(socket), await change(socket)

    assert (started["fromStatus"], started["toStatus"], started["actor"]) == (
        "ASSIGNED",
        "IN_EXECUTION",
        {"id": "carl"},
    )
    assert (ended["fromStatus"], ended["toStatus"], ended["actor"]) == ("IN_EXECUTION", "COMPLETED", {"id": None})
    assert ended["jobId"] == job_id
    assert ended["execution"] == {"number": 1}
    assert ended["job"] == {"status": "COMPLETED"}


async def test_a_mutation_goes_on_to_its_end_where_whoever_asked_has_left(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await new_job(api, await new_agent(api))
    begun, goes_on, edit = asyncio.Event(), asyncio.Event(), Lifecycle.created

    async def waits(self: Lifecycle, *given: Any) -> None:
        begun.set()
        await goes_on.wait()
        await edit(self, *given)

    monkeypatch.setattr(Lifecycle, "created", waits)
    async with connected(api) as following:
        await following.subscribe("1", "subscription { jobStatusChanged { jobId toStatus } }")
        await api.house.until_they_wait(1)
        async with connected(api) as leaving:
            await leaving.subscribe("1", CREATE, input={"title": "Left", "acceptanceCriteria": [IS_OK]})
            await begun.wait()
        goes_on.set()
        created = await change(following)

    assert created["toStatus"] == "PENDING"
    assert created["jobId"] != job_id


async def test_what_was_missed_comes_first_and_nothing_twice(api: Api) -> None:
    job_id = await new_job(api, await new_agent(api))
    cursor = (await api.data("{ feedCursor }"))["feedCursor"]
    await api.data(EXECUTE, input={"jobId": job_id})
    async with connected(api) as socket:
        await socket.subscribe("1", CHANGES, id=job_id, after=cursor)
        missed = [await change(socket), await change(socket)]
        await socket.send({"type": "complete", "id": "1"})
    force = {"jobId": job_id, "force": True, "reason": "again"}
    await api.by(ADMIN).data(EXECUTE, input=force)
    async with connected(api) as socket:
        await socket.subscribe("1", CHANGES, id=job_id, after=missed[-1]["cursor"])
        rest = [await change(socket), await change(socket)]

    assert [event["toStatus"] for event in missed + rest] == ["IN_EXECUTION", "COMPLETED"] * 2
    assert len({event["cursor"] for event in missed + rest}) == 4
    # `job` is the job as it is now, not as it was then.
    assert missed[0]["job"]["status"] == "COMPLETED"


async def test_the_log_is_followed_with_payloads_where_they_are_wanted(api: Api) -> None:
    job_id = await new_job(api, await new_agent(api))
    with_payload = (
        LOGS.replace("{ type }", "{ ...P } } } fragment P on JobLog { type payload").removesuffix(" } }") + " }"
    )
    async with connected(api) as socket:
        await socket.subscribe("plain", LOGS, id=job_id, after=log_cursor(0))
        types = [(await socket.next("plain"))["jobLogAppended"]["log"]["type"] for _ in range(2)]
        await socket.send({"type": "complete", "id": "plain"})
        cursor = (
            await api.data("query Q($id: ID!) { job(id: $id) { logs(last: 1) { edges { cursor } } } }", id=job_id)
        )["job"]["logs"]["edges"][0]["cursor"]
        await api.data(EXECUTE, input={"jobId": job_id})
        await socket.subscribe("full", with_payload, id=job_id, after=cursor)
        entries = [(await socket.next("full"))["jobLogAppended"]["log"] for _ in range(6)]

    assert types == ["STATUS_CHANGE", "STATUS_CHANGE"]
    assert [entry["type"] for entry in entries] == [
        "STATUS_CHANGE",
        "AGENT_REQUEST",
        "AGENT_RESPONSE",
        "VALIDATOR_REQUEST",
        "VALIDATOR_RESPONSE",
        "STATUS_CHANGE",
    ]
    assert entries[2]["payload"] == {"ok": True}


async def test_everybody_follows_what_they_may_see(api: Api) -> None:
    async with connected(api) as mine, connected(api, STRANGER) as theirs, connected(api, ADMIN) as all_:
        for socket in (mine, theirs, all_):
            await socket.subscribe("1", CHANGES)
        await api.house.until_they_wait(3)
        my_job = await new_job(api)
        their_job = await new_job(api.by(STRANGER))

        assert (await change(mine))["jobId"] == my_job
        assert (await change(theirs))["jobId"] == their_job
        assert [(await change(all_))["jobId"] for _ in range(2)] == [my_job, their_job]


@pytest.mark.parametrize("subscription", [CHANGES, LOGS])
async def test_a_foreign_job_is_refused_at_once_and_as_if_unknown(api: Api, subscription: str) -> None:
    foreign, unknown = await new_job(api), new_id(JOB)
    async with connected(api, STRANGER) as socket:
        answers = []
        for job_id in (foreign, unknown, "x"):
            await socket.subscribe("1", subscription, id=job_id)
            code, message = await socket.error("1")
            answers.append((code, message.replace(job_id, "…")))

    assert answers == [("NOT_FOUND", "There is no job '…'.")] * 3


@pytest.mark.parametrize("after", ["x", "", "é", log_cursor(1)[:-1] + "!"])
async def test_a_cursor_that_is_none_is_refused_at_once(api: Api, after: str) -> None:
    job_id = await new_job(api)
    async with connected(api) as socket:
        for query, variables in ((CHANGES, {}), (CHANGES, {"id": job_id}), (LOGS, {"id": job_id})):
            await socket.subscribe("1", query, after=after, **variables)
            assert (await socket.error("1"))[0] == "INVALID_INPUT"


async def test_a_follower_that_leaves_leaves_nothing_behind(api: Api, followers: Followers) -> None:
    async with connected(api) as socket:
        await socket.subscribe("1", CHANGES)
        await socket.subscribe("2", CHANGES)
        await until(lambda: followers.count == 2)
        await socket.send({"type": "complete", "id": "1"})
        await until(lambda: followers.count == 1)

    assert followers.count == 0


async def test_the_feed_cursor_is_read_before_anything_else(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    comparing.set(False)
    container, order = api.house.container, []
    read_cursor, read_page = type(container.feed).cursor, type(container.jobs).page

    async def slow_cursor(self: Any) -> str:
        await asyncio.sleep(0.05)
        cursor = await read_cursor(self)
        order.append("cursor")
        return cursor

    async def page(self: Any, *arguments: Any) -> Any:
        order.append("page")
        return await read_page(self, *arguments)

    monkeypatch.setattr(type(container.feed), "cursor", slow_cursor)
    monkeypatch.setattr(type(container.jobs), "page", page)

    query = "query Q($yes: Boolean = true) { jobs { totalCount } ...F } fragment F on Query { c: feedCursor %s }"
    await api.data(query % "@include(if: $yes)")

    assert order == ["cursor", "page"]


async def test_a_bug_in_the_stream_is_masked(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*arguments: Any, **_: Any) -> AsyncGenerator[Any]:
        if arguments:
            raise LookupError("the password is hunter2")
        yield

    monkeypatch.setattr(type(api.house.container.feed), "follow", fails)
    async with connected(api) as socket:
        await socket.subscribe("1", CHANGES)
        message = await socket.receive()

    assert "hunter2" not in str(message)
    assert message["payload"]["errors"][0]["extensions"]["code"] == "INTERNAL"


# --------------------------------------------------------------------------------------------- other operations


async def test_queries_and_mutations_work_too_and_see_what_is_new(api: Api) -> None:
    query = "query Q($id: ID!) { job(id: $id) { title latestExecution { outcome } } }"
    job_id = await new_job(api, await new_agent(api))
    async with connected(api) as socket:
        await socket.subscribe("1", query, id=job_id)
        before = await socket.next("1")
        assert await socket.receive() == {"id": "1", "type": "complete"}
        await socket.subscribe("2", EXECUTE, input={"jobId": job_id})
        assert (await socket.next("2"))["executeJob"]["job"]["status"] == "COMPLETED"
        assert (await socket.receive())["type"] == "complete"
        await socket.subscribe("1", query, id=job_id)
        after = await socket.next("1")

    assert before["job"]["latestExecution"] is None
    assert after["job"]["latestExecution"] == {"outcome": "ACCEPTED"}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nonsense }", "GRAPHQL_VALIDATION_FAILED"),
        ("query A { viewer { id } } query B { viewer { id } }", "BAD_REQUEST"),
        ("", "BAD_REQUEST"),
        ("{ " + "a" * 2_001 * 2 + " }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ " + "a " * 2_001 + " }", "TOO_COMPLEX"),
        ("{ jobs(first: 100) { nodes { logs(first: 100) { totalCount } } } }", "TOO_COMPLEX"),
        ("{a" * 900, "TOO_COMPLEX"),
    ],
)
async def test_a_mistake_ends_its_operation_and_no_other(api: Api, query: str, code: str) -> None:
    async with connected(api) as socket:
        await socket.subscribe("live", CHANGES)
        await api.house.until_they_wait(1)
        await socket.subscribe("1", query)
        assert (await socket.error("1"))[0] == code
        job_id = await new_job(api)
        assert (await change(socket, "live"))["jobId"] == job_id


async def test_a_connection_carries_ten_operations(api: Api) -> None:
    async with connected(api) as socket:
        for number in range(11):
            await socket.subscribe(str(number), CHANGES)
        assert (await socket.error("10"))[0] == "TOO_MANY_OPERATIONS"
        await socket.send({"type": "complete", "id": "0"})
        await socket.subscribe("10", "{ viewer { id } }")
        assert (await socket.next("10"))["viewer"] == {"id": "carl"}


# -------------------------------------------------------------------------------------------------- who is asking


@pytest.mark.parametrize("key", ["authorization", "Authorization", "AUTHORIZATION"])
async def test_the_token_may_come_with_the_first_message(api: Api, key: str) -> None:
    async with Socket(api.app) as socket:
        await socket.init("ada", key)
        await socket.subscribe("1", "{ viewer { id } }")
        assert (await socket.next("1"))["viewer"] == {"id": "ada"}
        assert socket.subprotocol == PROTOCOL


@pytest.mark.parametrize("headers", [{"authorization": "Bearer ada"}, {"cookie": "session=ada"}])
async def test_the_token_may_come_with_the_handshake(api: Api, headers: dict[str, str]) -> None:
    async with Socket(api.app, headers=headers) as socket:
        await socket.init()
        await socket.subscribe("1", "{ viewer { id } }")
        assert (await socket.next("1"))["viewer"] == {"id": "ada"}


async def test_a_broken_token_is_4403(api: Api) -> None:
    async with Socket(api.app) as socket:
        assert await socket.init("forged") == Closed(4403, "Forbidden")
    async with Socket(api.app) as socket:
        await socket.send({"type": "connection_init", "payload": {"authorization": ["Bearer ada"]}})
        assert await socket.receive() == Closed(4403, "Forbidden")


async def test_nobody_may_connect_and_follow_nothing(api: Api) -> None:
    async with connected(api, None) as socket:
        await socket.subscribe("1", CHANGES)
        assert (await socket.error("1"))[0] == "UNAUTHENTICATED"
        await socket.subscribe("1", "{ viewer { id } }")
        assert await socket.next("1") == {"viewer": None}


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        ({"origin": "http://signoff"}, True),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "null"}, False),
    ],
)
async def test_pages_of_other_origins_are_turned_away(api: Api, headers: dict[str, str], accepted: bool) -> None:
    async with Socket(api.app, headers=headers) as socket:
        answer = await socket.init("ada") if accepted else await socket.receive()

    assert answer == ({"type": "connection_ack"} if accepted else Closed(1008, accepted=False))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_an_operation_may_be_over_before_it_has_begun(api: Api) -> None:
    async with connected(api) as socket:
        await socket.subscribe("1", "{ viewer { id } }")
        await socket.send({"type": "complete", "id": "1"})
        await socket.subscribe("2", "{ viewer { id } }")
        assert (await socket.next("2"))["viewer"] == {"id": "carl"}
    # What was begun and not awaited is a warning, and here an error.
    gc.collect()


# ------------------------------------------------------------------------------------------------ breaking the rules

MALFORMED = [
    "[1,2]",
    "5",
    '"x"',
    "null",
    "{",
    "",
    "[" * 100_000,
    '{"a":' * 100_000,
    '{"type": "ping", "type": "pong"}',
    '{"type": "connection_init", "payload": {"x": NaN}}',
    '{"type": "ping", "payload": {"x": "\\ud800"}}',
    b"\x00",
    {},
    {"type": None},
    {"type": 5},
    {"type": ["ping"]},
    {"type": "start", "id": "1"},
    {"type": "x" * 500},
    {"type": "ping", "payload": 5},
    {"type": "connection_init", "payload": "x"},
    {"type": "complete"},
    {"type": "complete", "id": 5},
    {"type": "subscribe", "id": "1"},
    {"type": "subscribe", "payload": {"query": "{ viewer { id } }"}},
    {"type": "subscribe", "id": 1, "payload": {"query": "{ viewer { id } }"}},
    {"type": "subscribe", "id": "1", "payload": {}},
    {"type": "subscribe", "id": "1", "payload": []},
    {"type": "subscribe", "id": "1", "payload": {"query": 5}},
    {"type": "subscribe", "id": "1", "payload": {"query": "{ a }", "variables": []}},
    {"type": "subscribe", "id": "1", "payload": {"query": "{ a }", "operationName": 5}},
]


@pytest.mark.parametrize("frame", MALFORMED)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_malformed_frame_closes_with_4400(api: Api, frame: object) -> None:
    async with connected(api) as socket:
        await socket.send(frame)
        closed = await socket.receive()

    assert isinstance(closed, Closed), closed
    assert closed.code == 4400
    assert len(closed.reason.encode()) <= 123


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("frame", ["{", {"type": "ping"}, {"type": "subscribe", "id": "1", "payload": {"query": "{"}}])
async def test_whoever_is_gone_before_the_answer_is_no_failure(api: Api, frame: object) -> None:
    async with connected(api) as socket:
        await socket.subscribe("1", CHANGES)
        socket.is_gone = True
        await socket.send(frame)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_protocols_own_close_codes(api: Api) -> None:
    async with Socket(api.app) as socket:
        await socket.subscribe("1", "{ viewer { id } }")
        assert await socket.receive() == Closed(4401, "Unauthorized")
    async with Socket(api.app) as socket:
        assert (await socket.receive()).code == 4408
    async with connected(api) as socket:
        assert (await socket.init()).code == 4429
    async with connected(api) as socket:
        await socket.subscribe("x" * 300, CHANGES)
        await socket.subscribe("x" * 300, CHANGES)
        closed = await socket.receive()
        assert closed.code == 4409
        assert len(closed.reason.encode()) <= 123
    for subprotocols in ((), ("graphql-ws",), ("mqtt", "graphql-sse")):
        async with Socket(api.app, subprotocols=subprotocols) as socket:
            assert (await socket.receive()).code == 4406


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("following", [True, False])
async def test_a_socket_lasts_as_long_as_its_token(api: Api, followers: Followers, following: bool) -> None:
    async with Socket(api.app) as brief, connected(api) as lasting:
        assert (await brief.init(BRIEF))["type"] == "connection_ack"
        if following:
            await brief.subscribe("1", CHANGES)
            await until(lambda: followers.count == 1)

        assert await brief.receive() == Closed(4403, "The token has expired.")
        await until(lambda: followers.count == 0)
        await lasting.subscribe("1", "{ viewer { id } }")
        assert (await lasting.next("1"))["viewer"] == {"id": "carl"}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_pings_are_answered_and_a_missing_payload_is_fine(api: Api) -> None:
    async with Socket(api.app) as socket:
        await socket.send({"type": "connection_init", "payload": None})
        assert (await socket.receive())["type"] == "connection_ack"
        await socket.send({"type": "pong", "payload": {}})
        await socket.send({"type": "complete", "id": "unknown"})
        await socket.send({"type": "ping"})
        assert (await socket.receive())["type"] == "pong"


# ----------------------------------------------------------------------------------------------- on a real server


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_it_works_with_a_real_server_and_client(served: str) -> None:
    url, subprotocol = f"ws://{served}/graphql", websockets.Subprotocol(PROTOCOL)
    async with websockets.connect(url, subprotocols=[subprotocol]) as socket:
        await socket.send('{"type": "connection_init", "payload": {"authorization": "Bearer carl"}}')
        assert await socket.recv() == '{"type":"connection_ack"}'
        await socket.send('{"type": "subscribe", "id": "1", "payload": {"query": "{ viewer { id } }"}}')
        assert await socket.recv() == '{"id":"1","type":"next","payload":{"data":{"viewer":{"id":"carl"}}}}'
        assert await socket.recv() == '{"id":"1","type":"complete"}'
        # The answer quotes the id, and a close frame is small.
        frame = json.dumps({"type": "subscribe", "id": "ä" * 200, "payload": {"query": CHANGES}})
        await socket.send(frame)
        await socket.send(frame)
        await socket.wait_closed()
        assert socket.close_code == 4409
    async with websockets.connect(url, subprotocols=[subprotocol]) as socket:
        await socket.send(json.dumps({"type": "connection_init", "payload": {"authorization": f"Bearer {BRIEF}"}}))
        await socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": CHANGES}}))
        await socket.wait_closed()
        assert (socket.close_code, socket.close_reason) == (4403, "The token has expired.")
    with pytest.raises(websockets.InvalidStatus, match="403"):
        await websockets.connect(url, subprotocols=[subprotocol], origin=websockets.Origin("http://evil.example"))


async def test_a_created_job_is_an_event_too(api: Api) -> None:
    cursor = (await api.data("{ feedCursor }"))["feedCursor"]
    await api.data(CREATE, input={"title": "t", "acceptanceCriteria": [IS_OK]})
    async with connected(api) as socket:
        await socket.subscribe("1", CHANGES, after=cursor)
        event = await change(socket)

    assert (event["fromStatus"], event["toStatus"], event["execution"]) == (None, "PENDING", None)
