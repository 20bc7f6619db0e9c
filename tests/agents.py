"""An agent for tests: a small HTTP server on loopback that answers as scripted, wrongly too.

    async with ScriptedAgent(Response({"ok": True})) as agent:
        ...                                    # call agent.url
        assert agent.requests[0].json() == {"task": "…"}

The responses are given in turn, the last one for ever. `LOOPBACK` are the networks to allow to agents.
"""

import asyncio
import json
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from types import TracebackType
from typing import Any, Self

LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))


@dataclass(frozen=True)
class Response:
    """What the agent does with one request.

    `body` is sent as JSON unless it is bytes. `headers` come on top of content-length and content-type; a
    value of None drops one. `raw`, where given, is sent instead of status, headers and body.
    """

    body: object = field(default_factory=lambda: {"ok": True})
    status: int = 200
    headers: Mapping[str, str | None] = field(default_factory=dict[str, "str | None"])
    raw: bytes | None = None
    cut_after: int | None = None
    """Send this many bytes of the response, then end the connection."""
    drip_seconds: float = 0.0
    """Wait this long before each byte after the headers."""
    delay_seconds: float = 0.0
    """Wait this long before answering."""
    after: asyncio.Event | None = None
    """Wait for this before answering."""
    hangs: bool = False
    """Read the request, then stay silent. With `cut_after`: after those bytes."""
    resets: bool = False
    """End the connection with a reset (RST) instead of orderly."""

    def parts(self) -> tuple[bytes, bytes]:
        """Return the head and the body as sent."""
        if self.raw is not None:
            return b"", self.raw
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body)), **self.headers}
        lines = [f"HTTP/1.1 {self.status} X", *(f"{k}: {v}" for k, v in headers.items() if v is not None)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1"), body


@dataclass(frozen=True)
class Received:
    """One request as it arrived. Names of headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class ScriptedAgent:
    """Serves while its context is open. `connections` counts those that were made; the events say that one was."""

    def __init__(self, *responses: Response, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.responses = list(responses or (Response(),))
        self.requests: list[Received] = []
        self.connections = 0
        self.connected = asyncio.Event()
        self.called = asyncio.Event()
        self.port = 0
        self._tls = tls
        self._host = host
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://{self._host}:{self.port}/run"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, self._host, 0, ssl=self._tls)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.connected.set()
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                self.requests.append(await self._received(reader))
                self.called.set()
                response = self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]
                await self._respond(response, writer)
                if response.resets:
                    writer.transport.abort()
        finally:
            writer.close()
            with suppress(ConnectionError, TimeoutError):
                await writer.wait_closed()

    @staticmethod
    async def _received(reader: asyncio.StreamReader) -> Received:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return Received(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))

    @staticmethod
    async def _respond(response: Response, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(response.delay_seconds)
        if response.after is not None:
            await response.after.wait()
        head, body = response.parts()
        if response.cut_after is not None:
            whole = (head + body)[: response.cut_after]
            head, body = whole[: len(head)], whole[len(head) :]
        elif response.hangs or response.resets:
            head, body = b"", b""
        writer.write(head)
        size = 1 if response.drip_seconds else max(len(body), 1)
        for start in range(0, len(body), size):
            await asyncio.sleep(response.drip_seconds)
            writer.write(body[start : start + size])
            await writer.drain()
        if response.hangs:
            await asyncio.sleep(3600)
