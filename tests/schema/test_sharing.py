"""Equal subscriptions share their answers, which are byte for byte what each would have had alone."""

import asyncio
import json
import random
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, cast

import orjson
import pytest

from compiled import CompiledExecutor
from db.records import JobLog
from resolvers.context import Context, Services
from schema.build import Schema, build_schema
from schema.limits import Limits
from schema.scalars import written
from schema.sharing import Answer
from services.jobs import Jobs
from services.viewer import Viewer
from tests.calls import Calls
from tests.compiled_queries.documents import DocumentMaker
from tests.schema.conftest import BRIEF, Api, Followers, services_of, until
from tests.schema.sockets import Closed, Socket
from tests.schema.test_jobs_api import EXECUTE, new_agent, new_job
from tests.schema.test_sse import events_of, stream
from tests.services.conftest import ADMIN, CLIENT, STRANGER

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

OTHER_ADMIN = Viewer("bea", "Bea", ADMIN.role)
PLAIN = "subscription S($id: ID!, $after: String) { jobLogAppended(jobId: $id, after: $after) { cursor log { id } } }"
NESTED = """
subscription S($after: String, $first: Int, $told: Boolean! = true) { jobStatusChanged(after: $after) {
  cursor toStatus @include(if: $told)
  job { availableActions agent { name endpointUrl } logs(first: $first) { edges { node { id } } } }
} }
"""
VALUES = {
    "Int": ["1", "2"],
    "ID": ['"job_x"'],
    "String": ['"x"'],
    "Boolean": ["true", "false"],
    "DateTime": ['"2026-01-31T00:00:00Z"'],
    "JSON": ["1"],
}


@dataclass
class Told:
    """A feed that tells everybody the very same entries, whoever they are and whatever they ask."""

    entries: Sequence[JobLog]

    async def follow(self, *_: object, **__: object) -> AsyncGenerator[JobLog]:
        for entry in self.entries:
            yield entry
            await asyncio.sleep(0)


@dataclass
class Scene:
    """Entries of a job that was executed, the services that tell them, and how often events are executed."""

    job_id: str
    services: Services
    schema: Schema
    executed: list[int] = field(default_factory=list[int])

    async def told(
        self, query: str, viewer: Viewer, *, schema: Schema | None = None, **variables: Any
    ) -> list[tuple[bytes, bool]]:
        """What a subscription is told until its end, written, and whether it came written already."""
        found: list[tuple[bytes, bool]] = []
        context = Context(self.services, viewer)
        results: Any = await (schema or self.schema).stream(query, variable_values=variables, context_value=context)
        async with aclosing(results):
            async for result in results:
                if isinstance(result, Answer) and result.text is not None:
                    found.append((result.text.encode(), True))
                    continue
                body = {"data": result.data}
                if result.errors:
                    body["errors"] = sorted((error.formatted for error in result.errors), key=str)
                found.append((re.sub(rb'"traceId":"[^"]*"', b"", written(body)), False))
        return found


@pytest.fixture
async def scene(api: Api, monkeypatch: pytest.MonkeyPatch) -> Scene:
    job_id = await new_job(api, await new_agent(api))
    await api.data(EXECUTE, input={"jobId": job_id})
    job = await api.house.container.jobs.get(CLIENT, job_id)
    assert job is not None
    entries = [entry for entry in await api.house.log(job) if entry.to_status is not None]
    services = replace(services_of(api.house, api.executor), feed=cast("Any", Told(entries)))
    made = Scene(job_id, services, build_schema(Limits(aliases=1_000, repeats=1_000)))
    build = CompiledExecutor.build_per_event_executor

    def counting(self: Any, event: Any) -> Any:
        made.executed.append(event.seq)
        return build(self, event)

    monkeypatch.setattr(CompiledExecutor, "build_per_event_executor", counting)
    return made


def documents(schema: Schema, count: int) -> list[tuple[str, Mapping[str, Any]]]:
    """Subscriptions made up from the schema: fragments, aliases, directives, variables, arguments."""
    inner = schema._schema  # noqa: SLF001
    maker = DocumentMaker(inner, random.Random(11), VALUES, depth=3, fields=5)
    found: list[tuple[str, Mapping[str, Any]]] = []
    while len(found) < count:
        maker.variables, maker.fragments = {"id": ("ID!", ...)}, {}
        name, type_ = random.Random(len(found)).choice(
            [("jobStatusChanged", "JobStatusChange"), ("jobLogAppended(jobId: $id)", "JobLogAppended")]
        )
        selection = maker.selection(inner.type_map[type_], 3)
        if "(" not in name:
            del maker.variables["id"]
        declared = ", ".join(f"${name}: {kind}" for name, (kind, _) in maker.variables.items())
        head = f"subscription S{f'({declared})' if declared else ''} {{ {name} {selection} }}"
        text = "\n".join([head, *maker.fragments.values()])
        if not schema.document(text).errors:
            found.append((text, {name: value for name, (_, value) in maker.variables.items() if value is not ...}))
    return found


async def test_shared_answers_are_those_that_each_would_have_had_alone(scene: Scene) -> None:
    alone = build_schema(Limits(aliases=1_000, repeats=1_000), compiled=False)
    written = 0
    for text, variables in documents(scene.schema, 12):
        given: dict[str, Any] = {**variables, **({"id": scene.job_id} if "$id: ID!" in text else {})}
        viewers = (ADMIN, OTHER_ADMIN, CLIENT, STRANGER)
        shared = await asyncio.gather(*(scene.told(text, viewer, **given) for viewer in viewers for _ in range(2)))
        for number, viewer in enumerate(viewers):
            expected = [answer for answer, _ in await scene.told(text, viewer, schema=alone, **given)]
            for told in shared[2 * number : 2 * number + 2]:
                assert [answer for answer, _ in told] == expected, f"{viewer}\n{text}"
                written += sum(is_written for _, is_written in told)
    assert written > 40, "there is something to share"


async def test_an_event_is_executed_once_for_a_thousand_equal_listeners(scene: Scene) -> None:
    told = await asyncio.gather(*(scene.told(NESTED, ADMIN, first=1) for _ in range(1_000)))

    assert len(told[0]) == 4
    assert all(answers == told[0] for answers in told)
    assert len(scene.executed) == 4
    assert not scene.schema.known, "nothing is kept of those who have left"


async def test_where_they_go_on_from_does_not_part_equals_but_what_is_told_does(scene: Scene) -> None:
    cursors = [json.loads(text)["data"]["jobStatusChanged"]["cursor"] for text, _ in await scene.told(NESTED, ADMIN)]

    async def executions(*asked: Mapping[str, Any]) -> int:
        scene.executed.clear()
        await asyncio.gather(*(scene.told(NESTED, ADMIN, **variables) for variables in asked))
        return len(scene.executed) // len(cursors)

    assert await executions(*({"after": cursor, "first": 1} for cursor in cursors)) == 1
    assert await executions({"first": 1}, {"first": 2}, {"first": None}, {}) == 4
    assert await executions({"told": True}, {"told": False}) == 2


async def test_the_rights_of_each_decide_whatever_the_others_may_see(scene: Scene) -> None:
    async def agents(viewer: Viewer) -> set[str | None]:
        return {
            json.loads(text)["data"]["jobStatusChanged"]["job"]["agent"]["endpointUrl"]
            for text, _ in (await scene.told(NESTED, viewer))[1:]
        }

    admins, owners, others = await asyncio.gather(agents(ADMIN), agents(CLIENT), agents(OTHER_ADMIN))

    assert admins == others == {"http://127.0.0.1:9/run"}
    assert owners == {None}


async def test_a_token_that_was_renewed_makes_nobody_another(scene: Scene) -> None:
    await asyncio.gather(*(scene.told(NESTED, replace(ADMIN, expires_at=number + 1e10)) for number in range(3)))

    assert len(scene.executed) == 4


async def test_who_asked_first_may_leave_while_the_others_wait(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    read, go_on, asked = Jobs.get_many, asyncio.Event(), asyncio.Event()

    async def slow(self: Jobs, *arguments: Any, **parts: Any) -> Any:
        asked.set()
        await go_on.wait()
        return await read(self, *arguments, **parts)

    monkeypatch.setattr(Jobs, "get_many", slow)
    first = asyncio.create_task(scene.told(NESTED, ADMIN))
    await asked.wait()
    others = [asyncio.create_task(scene.told(NESTED, ADMIN)) for _ in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    go_on.set()
    told = await asyncio.gather(*others)

    assert first.cancelled()
    assert [len(answers) for answers in told] == [4, 4, 4]
    assert len(scene.executed) == 4


async def test_a_bug_is_masked_and_logged_once_for_all(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(*_: object, **__: object) -> Any:
        raise LookupError("the password is hunter2")

    monkeypatch.setattr(Jobs, "get_many", fails)
    context = Context(scene.services, ADMIN)

    async def first() -> Any:
        results: Any = await scene.schema.stream(NESTED, context_value=context)
        async with aclosing(results):
            return await anext(results)

    results = await asyncio.gather(*(first() for _ in range(3)))

    (error,) = {orjson.dumps([error.formatted for error in result.errors]) for result in results}
    assert b"hunter2" not in error
    assert b'"code":"INTERNAL"' in error
    assert len([record for record in caplog.records if "LookupError" in record.getMessage()]) == 1


async def test_an_answer_that_cannot_be_written_keeps_nobody_waiting(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> bytes:
        raise OverflowError

    monkeypatch.setattr("schema.sharing.written", fails)
    context = Context(scene.services, ADMIN)

    async def first() -> Any:
        results: Any = await scene.schema.stream("subscription { jobStatusChanged { cursor } }", context_value=context)
        async with aclosing(results):
            return await anext(results)

    async with asyncio.timeout(30):
        results = await asyncio.gather(*(first() for _ in range(3)))

    assert [result.errors[0].extensions["code"] for result in results] == ["INTERNAL"] * 3


async def test_both_transports_tell_the_same_bytes(api: Api, served: str) -> None:
    job_id = await new_job(api)
    body = {"query": PLAIN, "variables": {"id": job_id}}
    async with Socket(api.app) as socket, stream(served, body) as response:
        await socket.init(CLIENT.id)
        await socket.subscribe('"1"', PLAIN, id=job_id)
        await api.house.until_they_wait(2)
        await api.house.container.jobs.force_resubmission(ADMIN, job_id, "Look again.")
        told = await socket.next('"1"')
        name, event = await anext(events_of(response))

    assert (name, event) == ("next", {"data": told})


async def test_a_token_that_ends_closes_its_socket_and_no_equal_one(api: Api, followers: Followers) -> None:
    job_id = await new_job(api)
    async with Socket(api.app) as lasting, Socket(api.app) as brief:
        for count, (socket, token) in enumerate(((lasting, CLIENT.id), (brief, BRIEF)), 1):
            await socket.init(token)
            await socket.subscribe("1", PLAIN, id=job_id)
            await api.house.until_they_wait(count)
        while not isinstance(closed := await brief.receive(), Closed):
            pass
        await until(lambda: followers.count == 1)
        await api.house.append(job_id, 1)
        assert (await lasting.next("1"))["jobLogAppended"]["cursor"]

    assert closed == Closed(4403, "The token has expired.")


class Counting(Socket):
    """Counts what it is sent, and nothing else, so that only the service's own calls are counted."""

    got: ClassVar[int] = 0

    def _send_now(self, text: str) -> bool:
        if '"next"' not in text:
            return super()._send_now(text)
        Counting.got += 1
        return True


async def calls_of_an_event(api: Api, listeners: int) -> int:
    """How many calls of functions it takes until everybody has been sent it."""
    job_id = await new_job(api)
    counts = list[int]()

    async def one_event() -> None:
        Counting.got = 0
        await api.house.append(job_id, 1)
        await until(lambda: Counting.got == listeners)

    async with AsyncExitStack() as stack:
        for _ in range(listeners):
            socket = await stack.enter_async_context(Counting(api.app))
            await socket.init(CLIENT.id)
            await socket.subscribe("1", PLAIN, id=job_id)
        await api.house.until_they_wait(listeners)
        await one_event()
        for _ in range(3):
            with Calls() as calls:
                await one_event()
            counts.append(calls.counted)
    # Leases are kept and house is kept beside, now and then: the least has none of it.
    return min(counts)


async def test_an_event_takes_no_more_calls_a_listener_than_it_did(api: Api) -> None:
    """A budget without clocks, as in test_budget.py, of all but the server's own framing."""
    few, many = await calls_of_an_event(api, 10), await calls_of_an_event(api, 60)

    assert (many - few) / 50 < 11  # 10.0
