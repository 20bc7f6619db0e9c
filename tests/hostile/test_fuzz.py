"""Operations, frames and requests that nobody wrote: no 500, no hang, no stack trace, whatever comes.

A share of them runs with the other tests; all of them, with other dice: TEST_FUZZ_TRIES=10000 TEST_FUZZ_SEED=7
python3 dev.py test tests/hostile/test_fuzz.py
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import pytest
import schemathesis.graphql
import websockets
from hypothesis import HealthCheck, Phase, given, seed, settings
from websockets.typing import Subprotocol

from db.records import Role
from tests.hostile.process import ROOT, ServerProcess, served, token
from tests.hostile.table import EVENTS, GOOD, VIEWER, subscribe
from tests.hostile.test_hostile import CREATE_JOB, PATIENCE_SECONDS, a_job, unharmed

T = TypeVar("T")

TRIES = int(os.environ.get("TEST_FUZZ_TRIES", "400"))
SEED = int(os.environ.get("TEST_FUZZ_SEED", "0"))
OPERATIONS, FRAMES = TRIES // 2, TRIES // 4
REQUESTS = TRIES - OPERATIONS - FRAMES

# What the protocol says, and what WebSocket itself says of frames that are too large or no UTF-8.
RIGHT_CLOSES = {4400, 4401, 4403, 4409, 4429, 1007, 1009}
SPICES = (
    *(
        b"NaN",
        b"1e999",
        b"-0",
        b"9" * 400,
        b"null",
        b"true",
        b"[]",
        b"{}",
        b'""',
        b'"\\ud800"',
        b'"\\u0000"',
        b"[" * 70,
    ),
    *(b"\x00", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\\", b'"', b",", b"}", b"\xf0\x9f\x92\xa9", b"__proto__"),
)


def mutated(dice: random.Random, text: bytes) -> bytes:
    """A text with a few things done to it that break it, or do not."""
    made = bytearray(text)
    for _ in range(dice.randint(0, 4)):
        place, length = dice.randrange(len(made) + 1), dice.randint(1, 12)
        match dice.randrange(6):
            case 0:
                made[place : place + 1] = bytes([dice.randrange(256)])
            case 1:
                del made[place : place + length]
            case 2:
                made[place:place] = dice.choice(SPICES)
            case 3:
                made[place:place] = made[place : place + length] * dice.randint(1, 50)
            case 4:
                del made[place:]
            case _:
                made[place : place + length] = dice.choice(SPICES)
    return bytes(made)


async def each(things: Sequence[T], act: Callable[[T], Awaitable[None]]) -> None:
    """Do something with each thing, eight at a time; says with which it failed."""
    waiting = iter(things)

    async def some(of: Iterator[T]) -> None:
        for thing in of:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await act(thing)
            except Exception as error:
                error.add_note(f"with {thing!r:.2000}")
                raise

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(some(waiting))


# ---------------------------------------------------------------------------------------------------- operations


def operations(count: int) -> list[str]:
    """Valid operations of the schema with arguments of every kind, as schemathesis makes them up."""
    schema = schemathesis.graphql.from_path(ROOT / "schema" / "schema.graphql")
    made: list[str] = []

    @seed(SEED)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    @given(schema.as_strategy())
    def collect(case: Any) -> None:
        made.append(case.body)

    collect()
    return made[:count]


async def test_operations_that_nobody_wrote(tmp_path: Path) -> None:
    written = operations(OPERATIONS)
    dice = random.Random(SEED)
    async with served(tmp_path) as server, unharmed(server):

        async def asked(query: str) -> None:
            # Where an admin changes agents, names are looked up: tests have no business outside this machine.
            role = Role.CLIENT if query.lstrip().startswith("mutation") else dice.choice([Role.CLIENT, Role.ADMIN])
            headers = {"authorization": f"Bearer {token(role)}", "accept": "application/graphql-response+json"}
            response = await server.http.post("/graphql", json={"query": query}, headers=headers)
            assert response.status_code in {200, 400}, response.text
            codes = [error["extensions"]["code"] for error in response.json().get("errors", ())]
            assert "INTERNAL" not in codes, response.text

        await each(written, asked)
    assert len(written) == OPERATIONS


# -------------------------------------------------------------------------------------------------------- frames


def messages() -> list[bytes]:
    init = {"type": "connection_init", "payload": {"authorization": f"Bearer {token()}"}}
    followed = subscribe(
        "s", query="subscription S($a: String) { jobStatusChanged(after: $a) { cursor } }", variables={}
    )
    others = [
        subscribe("1", query=VIEWER, operationName=None, extensions={}),
        subscribe("2", query=EVENTS),
        subscribe("3", query=CREATE_JOB, variables={"input": {"title": "t", "acceptanceCriteria": [{"text": "x"}]}}),
        followed,
        {"type": "complete", "id": "s"},
        {"type": "ping", "payload": {}},
        {"type": "pong"},
    ]
    return [json.dumps(message).encode() for message in (init, *others)]


class Talk:
    """One client that breaks frames, and goes on over a new socket where that closed the one before."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.closes: Counter[int] = Counter()
        self.socket: websockets.ClientConnection | None = None
        self.sent = 0

    async def send(self, frame: bytes, *, binary: bool) -> None:
        """Send a frame; then the socket is closed as it should be, or alive."""
        if self.socket is None:
            address, protocol = f"ws://{self.server.host}/graphql", Subprotocol("graphql-transport-ws")
            self.socket = await websockets.connect(address, subprotocols=[protocol], compression=None, max_size=None)
            await self.socket.send(messages()[0].decode())
        try:
            await self.socket.send(frame, text=not binary)
            # Its own operation each time: the frame may ask for a pong as well, or for something like it.
            self.sent += 1
            last = f"sent {self.sent}"
            await self.socket.send(json.dumps(subscribe(last, query="{ __typename }")))
            while (answer := json.loads(await self.socket.recv())).get("id") != last or answer["type"] == "next":
                pass
        except websockets.ConnectionClosed:
            code = self.socket.close_code
            assert code in RIGHT_CLOSES, f"closed with {code}: {self.socket.close_reason}"
            self.closes[code] += 1
            self.socket = None

    async def end(self) -> None:
        if self.socket is not None:
            await self.socket.close()


async def test_frames_that_nobody_wrote(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    known = messages()
    frames = [(mutated(dice, dice.choice(known)), dice.random() < 0.05) for _ in range(FRAMES)]
    async with served(tmp_path) as server, unharmed(server):
        talks = [Talk(server) for _ in range(4)]
        free = asyncio.Queue[Talk]()
        for talk in talks:
            free.put_nowait(talk)

        async def sent(one: tuple[bytes, bool]) -> None:
            talk = await free.get()
            try:
                await talk.send(one[0], binary=one[1])
            finally:
                free.put_nowait(talk)

        await each(frames, sent)
        for talk in talks:
            await talk.end()
    closes = sum((talk.closes for talk in talks), Counter[int]())
    assert closes[4400] > FRAMES // 20, closes  # they do get through to where they are refused
    assert closes.total() < FRAMES, closes  # and some are no trouble at all


# ------------------------------------------------------------------------------------------------------ requests

PATHS = (
    "/api/jobs/{}/execute",
    "/api/jobs/{}",
    "/api/jobs/{}/logs",
    "/graphql",
    "/login",
    "/logout",
    "/login/people",
    "/{}",
)
MEDIA_TYPES = (
    "application/json",
    "application/json; charset=utf-8",
    "text/plain",
    "application/x-www-form-urlencoded",
    "*/*",
)
BODIES = (
    b'{"waitSeconds": 0, "expectedRevision": 1}',
    b'{"force": true, "reason": "r"}',
    b"{}",
    GOOD,
    b'{"token": "x.y.z"}',
)


def requests(dice: random.Random, job_id: str, count: int) -> Iterator[tuple[str, str, bytes, dict[str, str]]]:
    for _ in range(count):
        segment = dice.choice([job_id, quote(dice.randbytes(dice.randint(1, 40))), "..%2f", "job_%00", "%ff" * 30])
        path = dice.choice(PATHS).format(segment) + dice.choice(["", "", "?" + quote(dice.randbytes(20), safe="=&")])
        body = dice.choice([dice.randbytes(dice.randint(0, 300)), mutated(dice, dice.choice(BODIES)), b""])
        bearer = dice.choice(
            [f"Bearer {token()}"] * 3 + [mutated(dice, f"Bearer {token()}".encode()).decode("latin-1")]
        )
        headers = {
            "authorization": "".join(c for c in bearer if c.isprintable() and c.isascii()).strip(),
            "content-type": dice.choice(MEDIA_TYPES),
            "accept": dice.choice(["*/*", "application/json", "text/html", "text/event-stream;q=x", ";;,"]),
            "idempotency-key": dice.choice(["", "k", "k" * 300]),
            "traceparent": dice.choice(["", "00-" + "0" * 32 + "-1-1", "nonsense"]),
        }
        given = {name: value for name, value in headers.items() if value and dice.random() < 0.9}
        yield dice.choice(["GET", "POST", "POST", "POST", "PUT", "HEAD", "OPTIONS"]), path, body, given


async def test_requests_that_nobody_wrote(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    async with served(tmp_path) as server, unharmed(server):
        written = list(requests(dice, await a_job(server), REQUESTS))
        statuses: Counter[int] = Counter()

        async def asked(one: tuple[str, str, bytes, dict[str, str]]) -> None:
            method, path, body, headers = one
            response = await server.http.request(method, path, content=body, headers=headers)
            # A checkout may have no pages, and says so with a 503.
            no_pages = response.status_code == 503 and method in {"GET", "HEAD"}
            assert response.status_code < 500 or no_pages, response.text
            assert b"Traceback" not in response.content
            statuses[response.status_code] += 1

        await each(written, asked)
    assert {200, 400, 401, 404, 405} <= statuses.keys(), statuses


@pytest.mark.parametrize("text", [b"", b"{}", GOOD])
def test_the_dice_break_things_and_fall_the_same_again(text: bytes) -> None:
    thrown = [mutated(random.Random(number), text) for number in range(50)]

    assert thrown == [mutated(random.Random(number), text) for number in range(50)]
    assert len(set(thrown)) > 20
