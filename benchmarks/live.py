"""Live: from the commit of one event to the last of a thousand listeners, and a burst of a thousand events to all.

    python3 dev.py bench live [--quick] [--only NAMES] [--listeners N] [--events N]

Ours is the served endpoint: graphql-transport-ws, login, a commit in PostgreSQL, the bus. The limit is bare Starlette
on the same server, which sends a text that is ready; graphql-ws on Node executes each listener's operation. All are
asked by the same raw sockets (`benchmarks.stand.crowd`) and send the same messages, which is checked first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import select
import socket
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import asyncpg
import uvloop

from benchmarks.stand.command import at_least, carry_out, options
from benchmarks.stand.crowd import Count, Crowd, Greeting, Listener, crowd, listener
from benchmarks.stand.errors import BenchError
from benchmarks.stand.report import LIMIT, OURS, Row
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
from services.events.postgres import COALESCING_SECONDS

CONTESTANTS = (OURS, "graphql-ws", LIMIT)
# Who has not sent a burst's million messages by then is told by what has come: the run has an end.
BURST_SECONDS = 120
EVENT_SECONDS = 20
_SUBSCRIPTION = "subscription ($id: ID!) { jobLogAppended(jobId: $id) { cursor log { id message } } }"
_APPEND = """
INSERT INTO job_logs (id, job_id, owner_id, timestamp, type, status, message, actor_name, payload_state, payload_bytes)
VALUES ($1, $2, 'ada', now(), 'job_edit', 'ok', 'An event', 'Ada', 'stored', 0)
"""

Publish = Callable[[int, int], None]
"""Publish so many events, numbered from the first on; the listeners may still be receiving when it returns."""


@dataclass
class Contestant:
    """A server, how it is listened to, and what came of it."""

    server: Server
    greeting: Greeting
    publish: Publish
    listener_bytes: float = 0.0
    one: list[float] = field(default_factory=list[float])
    burst: Count = field(default_factory=lambda: Count(0, 0.0, 0.0))
    burst_seconds: float = 0.0
    published: int = 0

    def send(self, listeners: Crowd, events: int, seconds: float) -> tuple[Count, float]:
        """Publish; how much came within that time, and the seconds until the last of it."""
        listeners.expect(events * listeners.size)
        first, self.published = self.published, self.published + events
        started = time.monotonic()
        self.publish(first, events)
        count = listeners.received(seconds)
        if count.messages > events * listeners.size:
            raise BenchError(f"{count.messages} messages came of {events} events")
        return count, count.at - started


# ------------------------------------------------------------------------------------------------- the contestants


@contextmanager
def _appending(url: str) -> Generator[Publish]:
    """Write events into our log as the service does: a commit for each, and the bus is rung at most so often."""

    async def append(database: Any, first: int, count: int) -> None:
        rung = 0.0
        for number in range(first, first + count):
            await database.execute(_APPEND, f"log_bench{number}", job_id(1))
            if time.monotonic() - rung > COALESCING_SECONDS or number == first + count - 1:
                await database.execute("SELECT pg_notify('signoff', $1)", job_id(1))
                rung = time.monotonic()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        database = runner.run(asyncpg.connect(plain_url(url)))
        try:
            yield lambda first, count: runner.run(append(database, first, count))
        finally:
            runner.run(database.close())


def _asking(port: int) -> Publish:
    """Tell a peer to publish: it answers at once."""

    def publish(first: int, count: int) -> None:
        with socket.create_connection(("127.0.0.1", port), EVENT_SECONDS) as opened:
            words = f"POST /publish?first={first}&count={count} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
            opened.sendall(words.encode())
            answer = opened.recv(1 << 16)
            if b" 200 " not in answer[:20]:
                raise BenchError(f"it does not publish: {answer[:200]!r}")

    return publish


def _contestants(stack: ExitStack, url: str, names: Sequence[str]) -> Generator[Contestant]:
    subscribe = {"id": "1", "type": "subscribe", "payload": {"query": _SUBSCRIPTION, "variables": {"id": job_id(1)}}}
    login = {"type": "connection_init", "payload": {"authorization": f"Bearer {token()}"}}
    python, node_peers = str(PEERS / "python"), str(PEERS / "node")
    for name in names:
        port = free_port()
        if name == OURS:
            server = stack.enter_context(served(name, *signoff(url, port), port))
            yield Contestant(server, Greeting("/graphql", login, subscribe), stack.enter_context(_appending(url)))
        elif name == LIMIT:
            command = [peers_python(), f"{python}/limit_live.py"]
            server = stack.enter_context(served(name, command, {}, port))
            yield Contestant(server, Greeting("/ws"), _asking(port))
        else:
            command = [node(), f"{node_peers}/graphql_ws.mjs"]
            server = stack.enter_context(served(name, command, {"NODE_ENV": "production"}, port))
            greeting = Greeting("/graphql", {"type": "connection_init"}, subscribe)
            yield Contestant(server, greeting, _asking(port))


# ------------------------------------------------------------------------------------------------------- the run


def _check(contestants: Sequence[Contestant]) -> None:
    """See that one listener of each gets the same message, but for numbers."""
    said: dict[str, str] = {}
    for item in contestants:
        with item.server.asked("an event"):
            one = listener(item.server.port, item.greeting)
            message = json.loads(_first_message(one, item))
            appended = message["payload"]["data"]["jobLogAppended"]
            if not isinstance(appended.pop("cursor", None), str):
                raise BenchError(f"there is no cursor in {message}")
            said[item.server.name] = re.sub(r"\d+", "0", json.dumps(message, sort_keys=True))
            one.socket.close()
    if len(set(said.values())) > 1:
        raise BenchError(f"not everybody sends the same: {said}")


def _first_message(one: Listener, item: Contestant) -> bytes:
    for _ in range(EVENT_SECONDS):
        # Nobody acknowledges a subscription: the first events may come too early.
        item.publish(item.published, 1)
        item.published += 1
        if select.select([one.socket], [], [], 1.0)[0]:
            while not one.messages:
                one.take(keep=True)
            return one.messages[0]
    raise BenchError("no event comes")


def _connect(stack: ExitStack, item: Contestant, listeners: int) -> Crowd:
    """Everybody, subscribed: one event has come to all of them."""
    before = item.server.resident_bytes
    everybody = stack.enter_context(crowd(item.server.port, item.greeting, listeners))
    come = 0
    for _ in range(EVENT_SECONDS):
        count, _ = item.send(everybody, 1, 2.0)
        come = count.messages
        if come == listeners:
            item.listener_bytes = (item.server.resident_bytes - before) / listeners
            return everybody
        time.sleep(1)
    raise BenchError(f"an event comes to {come} of {listeners} listeners")


def run(
    *, quick: bool, only: Sequence[str] = CONTESTANTS, listeners: int | None = None, events: int | None = None
) -> list[Row]:
    """Measure."""
    listeners = listeners or (200 if quick else 1_000)
    events = events or (50 if quick else 1_000)
    rounds = 3 if quick else 10
    with ExitStack() as stack:
        url = stack.enter_context(filled_database(10))
        contestants = list(_contestants(stack, url, only))
        _check(contestants)
        crowds: list[Crowd] = []
        for item in contestants:
            with item.server.asked(f"{listeners} listeners"):
                crowds.append(_connect(stack, item, listeners))
        for _ in range(rounds):
            for item, everybody in zip(contestants, crowds, strict=True):
                with item.server.asked(f"1 event to {listeners} listeners"):
                    count, seconds = item.send(everybody, 1, EVENT_SECONDS)
                    if count.messages < listeners:
                        raise BenchError(f"it came to {count.messages} of them in {EVENT_SECONDS} s")
                    item.one.append(seconds)
        for item, everybody in zip(contestants, crowds, strict=True):
            with item.server.asked(f"{events} events to {listeners} listeners"):
                item.burst, item.burst_seconds = item.send(everybody, events, BURST_SECONDS)
                if not item.burst.messages:
                    raise BenchError(f"nothing came in {BURST_SECONDS} s")
        return _rows(contestants, listeners, events)


def _rows(contestants: Sequence[Contestant], listeners: int, events: int) -> list[Row]:
    one = [
        Row(
            f"1 event to {listeners:,} listeners",
            item.server.name,
            median(item.one) * 1e3,
            "ms",
            {"worst_ms": max(item.one) * 1e3},
            less_is_better=True,
        )
        for item in contestants
    ]
    burst = [
        Row(
            f"{events:,} events to {listeners:,} listeners",
            item.server.name,
            item.burst.messages / item.burst_seconds,
            "messages/s",
            {
                "seconds": item.burst_seconds,
                "received": item.burst.messages / (events * listeners),
                # Counting has a core of its own: where this comes near 1, it may be what is measured.
                "counting": item.burst.busy_seconds / item.burst_seconds,
            },
        )
        for item in contestants
    ]
    memory = [
        Row(
            "memory of a listener",
            item.server.name,
            item.listener_bytes / 1024,
            "KiB",
            {"server_peak_MiB": item.server.peak_bytes / 2**20},
            less_is_better=True,
        )
        for item in contestants
    ]
    return [*one, *burst, *memory]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = options(__doc__, CONTESTANTS)
    parser.add_argument("--listeners", type=at_least(1), help="1,000; 200 with --quick")
    parser.add_argument("--events", type=at_least(1), help="in the burst: 1,000; 50 with --quick")

    def measure(asked: argparse.Namespace) -> list[Row]:
        return run(quick=asked.quick, only=asked.only, listeners=asked.listeners, events=asked.events)

    return carry_out(parser, measure, arguments)


if __name__ == "__main__":
    sys.exit(main())
