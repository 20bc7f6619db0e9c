"""A crowd of listeners in a process of its own, so that counting what they receive holds nobody up who publishes.

A listener is a raw socket. Of what arrives only the heads of WebSocket frames are read: two microseconds for each
message, where the fastest server here spends ten. What the messages say is checked beforehand, with one listener.
"""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
import selectors
import socket
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks.stand.errors import BenchError
from benchmarks.stand.load import PIECE_BYTES

HANDSHAKE_SECONDS = 30
_TEXT, _CLOSE, _PING = 1, 8, 9


class Pipe(Protocol):
    """The end of a pipe, whichever the platform has."""

    def send(self, obj: Any, /) -> None: ...
    def recv(self) -> Any: ...
    def poll(self, timeout: float = 0.0, /) -> bool: ...
    def fileno(self) -> int: ...


@dataclass(frozen=True)
class Greeting:
    """How a listener introduces itself: what it sends first, and what it sends once that is acknowledged."""

    path: str
    init: dict[str, Any] | None = None
    subscribe: dict[str, Any] | None = None


@dataclass
class Listener:
    """A WebSocket client; `received` is what has come and is not a whole frame yet."""

    socket: socket.socket
    received: bytes = b""
    messages: list[bytes] = field(default_factory=list[bytes])

    def send(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        # A mask of zeros leaves the payload as it is.
        self.socket.sendall(bytes([0x80 | opcode]) + length + bytes(4) + payload)

    def take(self, *, keep: bool) -> int:
        """Read what has come; returns how many messages that were. Raises BenchError where it is an end or an error."""
        piece = self.socket.recv(PIECE_BYTES)
        if not piece:
            raise BenchError("it closed a listener's connection")
        received = self.received + piece
        if b'"error' in received:
            raise BenchError(f"it sent {received[:400]!r}")
        at, count, end = 0, 0, len(received)
        while at + 2 <= end:
            size, start = received[at + 1], at + 2
            if size == 126 and start + 2 <= end:
                size, start = int.from_bytes(received[at + 2 : at + 4], "big"), at + 4
            if start + size > end:
                break
            opcode, at = received[at] & 0x0F, start + size
            if opcode == _TEXT:
                count += 1
                if keep:
                    self.messages.append(received[start:at])
            elif opcode == _PING:
                self.send(10, received[start:at])
            elif opcode == _CLOSE:
                raise BenchError(f"it closed a listener's connection: {received[start:at]!r}")
        self.received = received[at:]
        return count


def listener(port: int, greeting: Greeting) -> Listener:
    """Connect and subscribe. Whether the server has got the subscription is not told yet."""
    opened = socket.create_connection(("127.0.0.1", port), HANDSHAKE_SECONDS)
    key = base64.b64encode(os.urandom(16)).decode()
    opened.sendall(
        f"GET {greeting.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        piece = opened.recv(1 << 16)
        head += piece
        if not piece or b" 101 " not in head[:20]:
            raise BenchError(f"it does not take a listener: {head[:400]!r}")
    made = Listener(opened, head.partition(b"\r\n\r\n")[2])
    if greeting.init is not None:
        made.send(_TEXT, json.dumps(greeting.init).encode())
        while not made.messages:
            made.take(keep=True)
        made.messages.clear()
    if greeting.subscribe is not None:
        made.send(_TEXT, json.dumps(greeting.subscribe).encode())
    return made


@dataclass(frozen=True)
class Count:
    """What came: how many messages, when the last of them, and the processor time that counting took."""

    messages: int
    at: float
    busy_seconds: float


# ----------------------------------------------------------------------------------------------- the other process


def _run(told: Pipe, port: int, greeting: Greeting, size: int) -> None:
    """Connect everybody, then count. Told how many messages to wait for, say when the last of them came."""
    try:
        everybody = [listener(port, greeting) for _ in range(size)]
        told.send(None)
        _count(told, everybody)
    except (BenchError, OSError) as error:
        told.send(BenchError(str(error)))
    except (EOFError, KeyboardInterrupt):
        pass


def _count(told: Pipe, everybody: Sequence[Listener]) -> None:
    selector = selectors.DefaultSelector()
    selector.register(told, selectors.EVENT_READ)
    for one in everybody:
        selector.register(one.socket, selectors.EVENT_READ, one)
    received = expected = 0
    busy = 0.0
    while True:
        for key, _ in selector.select():
            if key.data is not None:
                received += key.data.take(keep=False)
            elif (command := told.recv()) is not None:
                received, expected, busy = 0, command, time.process_time()
                told.send(None)
            elif expected:  # the time is up, unless all has just been told
                told.send(Count(received, time.monotonic(), time.process_time() - busy))
                expected = 0
        if expected and received >= expected:
            told.send(Count(received, time.monotonic(), time.process_time() - busy))
            expected = 0


@dataclass
class Crowd:
    """What is known here of the listeners over there."""

    size: int
    told: Pipe

    def connected(self) -> None:
        """Wait until everybody is."""
        self._answer(HANDSHAKE_SECONDS + self.size / 10)

    def expect(self, messages: int) -> None:
        """Count from now on, as far as that."""
        self.told.send(messages)
        self._answer(10)  # what came late of what was before is not counted

    def received(self, seconds: float) -> Count:
        """Wait until all that is expected has come, at most so long."""
        if not self.told.poll(seconds):
            self.told.send(None)
        found: Count = self._answer(10)
        return found

    def _answer(self, seconds: float) -> Any:
        try:
            if not self.told.poll(seconds):
                raise BenchError("the listeners have hung")
            answer = self.told.recv()
        except EOFError as error:
            raise BenchError("the listeners have ended") from error
        if isinstance(answer, BenchError):
            raise answer
        return answer


@contextmanager
def crowd(port: int, greeting: Greeting, size: int) -> Generator[Crowd]:
    """So many listeners, connected; they leave with the block."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_run, args=(there, port, greeting, size), daemon=True)
    process.start()
    there.close()
    try:
        made = Crowd(size, here)
        made.connected()
        yield made
    finally:
        here.close()
        process.terminate()
        process.join()
