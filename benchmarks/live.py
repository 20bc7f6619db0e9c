"""Live: from the commit of one event to the last of a thousand listeners, and a burst of events to all of them.

    python3 dev.py bench live [--quick]

Ours is the served endpoint: graphql-transport-ws, login, a commit in PostgreSQL, the bus. The limit is bare Starlette
on the same server, which sends a text that is ready; graphql-ws on Node executes each listener's operation. A listener
is a raw socket; one process holds them all and counts frames, so what it costs is the same for all.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

import asyncpg
import uvloop

from benchmarks.stand.report import OURS, Row, options, tell
from benchmarks.stand.stage import (
    PEERS,
    Server,
    filled_database,
    free_port,
    job_id,
    node,
    peers_python,
    plain_url,
    served,
    signoff,
    token,
)

SUBSCRIPTION = "subscription ($id: ID!) { jobLogAppended(jobId: $id) { cursor log { id message } } }"
_APPEND = """
INSERT INTO job_logs (id, job_id, owner_id, timestamp, type, status, message, actor_name, payload_state, payload_bytes)
VALUES ($1, $2, 'ada', now(), 'job_edit', 'ok', 'An event', 'Ada', 'stored', 0)
"""


class Listener(asyncio.Protocol):
    """A WebSocket client that counts text frames once it is subscribed."""

    def __init__(self, on_frame: Callable[[], None], hello: list[dict[str, Any]]) -> None:
        self.on_frame, self.hello = on_frame, hello
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.data = bytearray()
        self.upgraded = False
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def open(self, path: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        self.transport.write(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n".encode()
        )

    def send(self, message: dict[str, Any]) -> None:
        payload = json.dumps(message).encode()
        head = b"\x81" + (
            bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
        )
        self.transport.write(head + b"\x00" * 4 + payload)  # a mask of zeros leaves the payload as it is

    def data_received(self, data: bytes) -> None:
        self.data += data
        if not self.upgraded:
            end = self.data.find(b"\r\n\r\n")
            if end < 0:
                return
            if b" 101 " not in self.data[:20]:
                self.ready.set_exception(RuntimeError(bytes(self.data[:200]).decode()))
                self.transport.abort()
                return
            del self.data[: end + 4]
            self.upgraded = True
            if not self.hello:
                self.ready.set_result(None)
            else:
                self.send(self.hello[0])
        while len(self.data) >= 2:
            length, at = self.data[1] & 0x7F, 2
            if length == 126:
                length, at = int.from_bytes(self.data[2:4], "big"), 4
            if len(self.data) < at + length:
                return
            opcode = self.data[0] & 0x0F
            text = bytes(self.data[at : at + length])
            del self.data[: at + length]
            if opcode == 1:
                self.take(text)

    def take(self, text: bytes) -> None:
        if self.hello and not self.ready.done() and b"connection_ack" in text:
            self.send(self.hello[1])
            self.ready.set_result(None)
        elif b'"next"' in text or not self.hello:
            assert b"errors" not in text, text
            self.on_frame()


@dataclass
class Figures:
    """Seconds from publishing to the last receipt: of one event, of a burst; bytes of memory for a listener."""

    one: list[float]
    burst: float
    memory: float


async def measure(
    server: Server,
    path: str,
    hello: list[dict[str, Any]],
    publish: Callable[[int], Awaitable[None]],
    *,
    listeners: int,
    events: int,
) -> Figures:
    """Connect all listeners, then publish."""
    received = 0
    expected = 0
    whole = asyncio.Event()

    def on_frame() -> None:
        nonlocal received
        received += 1
        if received >= expected:
            whole.set()

    loop = asyncio.get_running_loop()
    before = server.resident_bytes
    open_: list[Listener] = []
    for start in range(0, listeners, 50):
        some: list[Listener] = []
        for _ in range(start, min(start + 50, listeners)):
            _, listener = await loop.create_connection(lambda: Listener(on_frame, hello), "127.0.0.1", server.port)
            listener.open(path)
            some.append(listener)
        await asyncio.gather(*(listener.ready for listener in some))
        open_ += some
    await asyncio.sleep(3)
    memory = (server.resident_bytes - before) / listeners

    async def send(count: int) -> float:
        nonlocal received, expected
        received, expected = 0, count * listeners
        whole.clear()
        started = time.perf_counter()
        await publish(count)
        async with asyncio.timeout(30):
            await whole.wait()
        return time.perf_counter() - started

    await send(1)
    one = [await send(1) for _ in range(5)]
    burst = await send(events)
    for listener in open_:
        listener.transport.abort()
    return Figures(one, burst, memory)


async def run_all(servers: Mapping[str, Server], url: str, *, listeners: int, events: int) -> dict[str, Figures]:
    """Each contestant in turn: two at a time would share the processors."""
    database = await asyncpg.connect(plain_url(url))
    # The bus listens to notices that name the job; what is appended by hand rings it by hand.
    number = 0

    async def append(count: int) -> None:
        nonlocal number
        for _ in range(count):
            number += 1
            await database.execute(_APPEND, f"log_bench{number}", job_id(1))
        await database.execute("SELECT pg_notify('signoff', $1)", job_id(1))

    def ask(port: int) -> Callable[[int], Awaitable[None]]:
        async def publish(count: int) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"POST /publish?count={count} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            writer.close()

        return publish

    subscribe = {"id": "1", "type": "subscribe", "payload": {"query": SUBSCRIPTION, "variables": {"id": job_id(1)}}}
    init = {"type": "connection_init", "payload": {"authorization": f"Bearer {token()}"}}
    peer = {"id": "1", "type": "subscribe", "payload": {"query": "subscription { appended { cursor id message } }"}}
    found: dict[str, Figures] = {}
    for name, server in servers.items():
        hello = {OURS: [init, subscribe], "graphql-ws": [{"type": "connection_init"}, peer], "limit": []}[name]
        path = "/graphql" if name != "limit" else "/ws"
        publish = append if name == OURS else ask(server.port)
        found[name] = await measure(server, path, hello, publish, listeners=listeners, events=events)
    await database.close()
    return found


def run(*, quick: bool) -> list[Row]:
    """Measure."""
    listeners, events = (200, 20) if quick else (1_000, 100)
    with ExitStack() as stack:
        url = stack.enter_context(filled_database(10))
        servers: dict[str, Server] = {}

        def add(name: str, port: int, command: list[str], environment: Mapping[str, str]) -> None:
            servers[name] = stack.enter_context(served(name, command, environment, port))

        port = free_port()
        add(OURS, port, *signoff(url, port))
        add("graphql-ws", free_port(), [node(), str(PEERS / "node" / "graphql_ws.mjs")], {"NODE_ENV": "production"})
        add("limit", free_port(), [peers_python(), str(PEERS / "python" / "limit_live.py")], {})
        found = uvloop.run(run_all(servers, url, listeners=listeners, events=events))
    rows: list[Row] = []
    for what, unit, value in (
        (f"1 event to {listeners} listeners", "ms", lambda item: median(item.one) * 1e3),
        (f"{events} events to {listeners} listeners", "ms", lambda item: item.burst * 1e3),
        ("memory of a listener", "KiB", lambda item: item.memory / 1024),
    ):
        rows += [Row(what, name, value(figures), unit, less_is_better=True) for name, figures in found.items()]
    return rows


def main() -> int:
    """Run and print."""
    asked = options(__doc__).parse_args()
    tell(run(quick=asked.quick), asked)
    return 0


if __name__ == "__main__":
    sys.exit(main())
