"""What goes over the wire, and in how many pieces."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect

from app.protocol import HttpProtocol, Joining
from tests.schema.conftest import until

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Written:
    """A transport that keeps what is written, piece by piece."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.pieces.append(data)

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
async def written() -> Written:
    return Written()


@pytest.fixture
async def joining(written: Written) -> Joining:
    return Joining(cast("asyncio.Transport", written))


async def test_a_head_waits_for_its_body(written: Written, joining: Joining) -> None:
    joining.write(HEAD)
    joining.write(b"{}")
    joining.write(b"more")

    assert written.pieces == [HEAD + b"{}", b"more"]
    await asyncio.sleep(0)
    assert len(written.pieces) == 2


async def test_a_head_does_not_wait_longer_than_the_present_step(written: Written, joining: Joining) -> None:
    joining.write(HEAD)
    assert written.pieces == []
    await asyncio.sleep(0)
    assert written.pieces == [HEAD]
    joining.write(b"later")
    assert written.pieces == [HEAD, b"later"]


async def test_a_large_body_is_not_copied(written: Written, joining: Joining) -> None:
    body = bytes(100_000)
    joining.write(HEAD)
    joining.write(body)

    assert written.pieces == [HEAD, body]
    assert written.pieces[1] is body


async def test_a_head_is_written_before_the_connection_is_closed(written: Written, joining: Joining) -> None:
    joining.write(HEAD)
    joining.close()

    assert written.pieces == [HEAD]
    assert joining.is_closing()
    joining.write(HEAD)
    await asyncio.sleep(0)
    assert written.pieces == [HEAD], "nothing is written to what is closed"


async def test_a_head_is_written_before_a_websocket_takes_the_connection(
    written: Written, joining: Joining, monkeypatch: pytest.MonkeyPatch
) -> None:
    def upgrade(protocol: HttpProtocol) -> None:
        protocol.transport.write(b"101")

    monkeypatch.setattr(HttpProtocol.__mro__[1], "handle_websocket_upgrade", upgrade)
    protocol = object.__new__(HttpProtocol)
    protocol.transport = joining
    joining.write(HEAD)
    protocol.handle_websocket_upgrade()

    assert written.pieces == [HEAD, b"101"]


# ------------------------------------------------------------------------------------------------------ a real server


async def echo(request: Request) -> Response:
    return PlainTextResponse(await request.body())


async def stream(_request: Request) -> Response:
    async def parts() -> AsyncGenerator[bytes]:
        yield b"one"
        await asyncio.sleep(30)
        yield b"two"

    return StreamingResponse(parts())


async def slow(_scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await asyncio.sleep(30)


async def talk(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(await socket.receive_text())
    await socket.close()


@pytest.fixture
async def port() -> AsyncGenerator[int]:
    app = Starlette(
        routes=[
            Route("/echo", echo, methods=["GET", "POST"]),
            Route("/stream", stream),
            WebSocketRoute("/talk", talk),
        ]
    )
    app.mount("/slow", slow)
    config = uvicorn.Config(app, port=0, log_level="critical", lifespan="off", http=HttpProtocol)
    config.timeout_graceful_shutdown = 0
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


def request(path: str, body: bytes = b"", method: str = "POST", more: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nhost: x\r\n{more}content-length: {len(body)}\r\n\r\n".encode() + body


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    (length,) = (line.split(": ")[1] for line in head.splitlines() if line.startswith("content-length"))
    return await reader.readexactly(int(length))


async def test_requests_that_come_at_once_are_answered_in_their_order(port: int) -> None:
    bodies = [b"a", b"", b"b" * 200_000, b"c"]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(10):
        writer.write(b"".join(request("/echo", body) for body in bodies) + request("/echo", method="HEAD"))
        answers = [await read_answer(reader) for _ in bodies]
        head = await reader.readuntil(b"\r\n\r\n")
    writer.close()

    assert answers == bodies
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(("path", "sent"), [("/stream", b"3\r\none\r\n"), ("/slow/", b"")])
async def test_the_head_of_an_answer_that_takes_its_time_is_there_at_once(port: int, path: str, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(10):
        writer.write(request(path, method="GET"))
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(len(sent)) == sent
    writer.close()


async def test_who_asks_whether_to_send_is_told_to(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(10):
        writer.write(request("/echo", b"abc", more="expect: 100-continue\r\n").removesuffix(b"abc"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert await read_answer(reader) == b"abc"
    writer.close()


async def test_a_websocket_is_none_of_its_business(port: int) -> None:
    async with asyncio.timeout(10), connect(f"ws://127.0.0.1:{port}/talk") as socket:
        await socket.send("HTTP/1.1 200 OK")
        assert await socket.recv() == "HTTP/1.1 200 OK"
