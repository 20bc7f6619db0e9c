"""A load generator: one process, an epoll loop over raw keep-alive sockets, one request under way on each.

It does nothing but count bytes, so it is far from being what is measured wherever an answer costs the server more than
some fifty microseconds.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median

from benchmarks.stand.errors import BenchError

# Longer than any answer here takes with sixteen under way: a server that says nothing for so long has hung.
PATIENCE_SECONDS = 60
# Python asks for as much memory as may come: from 128 KiB on, that is a mapping of its own, which takes ten times as
# long as all the rest.
PIECE_BYTES = 1 << 16


@dataclass
class Measured:
    """Latencies in seconds, in the order in which they ended; how long it took, and how much of it went into asking."""

    latencies: list[float]
    seconds: float
    busy_seconds: float

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]

    @property
    def p50(self) -> float:
        return median(self.latencies)


def request_bytes(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """A POST of JSON, ready to send."""
    head = {"host": "127.0.0.1", "content-type": "application/json", "accept": "application/json", **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


@dataclass
class _Connection:
    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)
    expected: int = 0
    began: float = 0.0

    def is_whole(self) -> bool:
        if not self.expected:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return False
            head = bytes(self.received[:end]).lower()
            _, _, rest = head.partition(b"content-length:")
            if not head.startswith(b"http/1.1 200") or not rest:
                raise BenchError(f"it answered {bytes(self.received[:500]).decode(errors='replace')!r}")
            self.expected = end + 4 + int(rest.split(b"\r\n", 1)[0])
        return len(self.received) >= self.expected

    def receive(self) -> None:
        piece = self.socket.recv(PIECE_BYTES)
        if not piece:
            raise BenchError(f"it closed the connection after {len(self.received)} bytes of an answer")
        self.received += piece


def ask(port: int, request: bytes) -> bytes:
    """The body of one answer."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as opened:
        connection = _Connection(opened)
        opened.sendall(request)
        while not connection.is_whole():
            connection.receive()
    return bytes(connection.received).split(b"\r\n\r\n", 1)[1]


def measure(port: int, request: bytes, concurrency: int, seconds: float) -> Measured:
    """Ask for as long as that over as many connections, each with one request under way."""
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        for _ in range(concurrency):
            opened = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(opened, selectors.EVENT_READ, _Connection(opened))
        return _measured(selector, request, seconds)


def _measured(selector: selectors.BaseSelector, request: bytes, seconds: float) -> Measured:
    latencies: list[float] = []
    clock = time.perf_counter
    started, busy = clock(), time.process_time()
    until = started + seconds
    under_way = 0
    for key in selector.get_map().values():
        key.data.began = clock()
        key.data.socket.sendall(request)
        under_way += 1
    while under_way:
        ready = selector.select(PATIENCE_SECONDS)
        if not ready:
            raise BenchError(f"no answer in {PATIENCE_SECONDS} s, after {len(latencies)} of them")
        for key, _ in ready:
            connection = key.data
            connection.receive()
            if not connection.is_whole():
                continue
            now = clock()
            latencies.append(now - connection.began)
            del connection.received[:]
            connection.expected = 0
            if now < until:
                connection.began = now
                connection.socket.sendall(request)
            else:
                under_way -= 1
    return Measured(latencies, clock() - started, time.process_time() - busy)
