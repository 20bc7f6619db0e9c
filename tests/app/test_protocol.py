"""What goes over the wire, and in how many pieces."""

import asyncio
import gc
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.asyncio.client import connect

from app.protocol import HttpProtocol, WebSocketProtocol
from schema.endpoint import SEND_NOW
from tests.schema.conftest import until

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
LENGTH, TYPE = (b"content-length", b"2"), (b"content-type", b"text/plain")
START: Mapping[str, Any] = {"type": "http.response.start", "status": 200, "headers": [TYPE, LENGTH]}
BODY: Mapping[str, Any] = {"type": "http.response.body", "body": b"ok"}
FIRST: Mapping[str, Any] = {**BODY, "more_body": True}


class Written(asyncio.Transport):
    """A transport that keeps what is written, piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.pieces.append(data)

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def abort(self) -> None:
        self.is_closed = True


class Clock:
    """The loop, with timers that a test sets off."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: dict[float, Callable[[], None]] = {}
        self.create_task = asyncio.get_running_loop().create_task

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        due = self.now + seconds
        self.timers[due] = callback
        return SimpleNamespace(cancel=lambda: self.timers.pop(due, None))

    def advance_to(self, now: float) -> None:
        self.now = now
        for due in sorted(self.timers):
            if due <= now:
                self.timers.pop(due)()


class Connection:
    """A connection to an application, without a network."""

    def __init__(self, app: Any, protocol: Any = HttpProtocol, clock: Any = None, *, access_log: bool = False) -> None:
        level = "info" if access_log else "critical"
        config = uvicorn.Config(app, lifespan="off", log_level=level, access_log=access_log, proxy_headers=False)
        state = ServerState()
        state.default_headers = [(b"date", b"today")]
        self.wire = Written()
        self.protocol = protocol(config, state, {}, clock)
        self.protocol.connection_made(self.wire)
        self.tasks = state.tasks

    async def ask(self, data: bytes = REQUEST) -> list[bytes]:
        """What is written until whatever is asked is answered."""
        self.wire.pieces.clear()
        self.protocol.data_received(data)
        while self.tasks:
            await asyncio.wait(self.tasks)
        return list(self.wire.pieces)


def answering(*messages: Mapping[str, Any]) -> Any:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in messages:
            await send({**message})

    return app


async def test_the_head_of_an_answer_and_its_body_are_one_piece() -> None:
    connection = Connection(answering(START, BODY))

    for _ in range(2):
        whole = b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok"
        assert await connection.ask() == [whole]


async def test_a_large_body_is_not_copied() -> None:
    body = bytes(100_000)
    connection = Connection(answering({**START, "headers": [(b"content-length", b"100000")]}, {**BODY, "body": body}))

    _, sent = await connection.ask()

    assert sent is body


async def test_whoever_wants_a_line_for_each_request_gets_it(capsys: pytest.CaptureFixture[str]) -> None:
    await Connection(answering(START, BODY), access_log=True).ask()

    assert '"GET / HTTP/1.1" 200' in capsys.readouterr().out


async def test_what_fails_before_its_body_is_answered_as_a_failure() -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({**START})
        raise ValueError

    [head, body] = await Connection(app).ask()

    assert head.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert body == b"Internal Server Error"


def starting(*headers: tuple[bytes, bytes], status: int = 200) -> Mapping[str, Any]:
    return {**START, "status": status, "headers": list(headers)}


@pytest.mark.parametrize(
    "data",
    [
        REQUEST,
        REQUEST.replace(b"GET", b"HEAD"),
        REQUEST.replace(b"1.1", b"1.0"),
        REQUEST.replace(b"host: x", b"connection: close"),
        REQUEST * 3,
    ],
    ids=["GET", "HEAD", "HTTP 1.0", "the last", "three at once"],
)
@pytest.mark.parametrize(
    "messages",
    [
        [START, BODY],
        [START, FIRST, {**BODY, "body": b""}],
        [START, {**BODY, "body": b""}],
        [START, {**BODY, "body": b"too long"}],
        [START, FIRST, BODY],
        [START, START, BODY],
        [START, BODY, BODY],
        [BODY],
        [starting(TYPE), BODY],
        [starting(), {"type": "http.response.body"}],
        [starting((b"content-length", b"0")), {"type": "http.response.body"}],
        [starting(status=204), {"type": "http.response.body"}],
        [starting(TYPE, status=304), {"type": "http.response.body"}],
        [starting(LENGTH, status=299), BODY],
        [starting((b"Content-Length", b"2"), (b"X-Trace-Id", b"1")), BODY],
        [starting(LENGTH, (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")), BODY],
        [starting(LENGTH, (b"connection", b"close")), BODY],
        [starting(LENGTH, (b"connection", b"keep-alive")), BODY],
        [starting((b"transfer-encoding", b"chunked")), BODY],
        [starting(LENGTH, (b"no name", b"1")), BODY],
        [starting(LENGTH, (b"name", b"1\r\nset-cookie: a=1")), BODY],
        [starting(LENGTH, (b"etag", b"1\0")), BODY],
        [{**START, "headers": ((b"content-length", b"2"),)}, BODY],
        [{"type": "http.response.start", "status": 200}, BODY],
    ],
    ids=str,
)
async def test_what_is_sent_is_what_uvicorn_sends(messages: list[Mapping[str, Any]], data: bytes) -> None:
    """In pieces of its own making; and it keeps connections that uvicorn keeps, no others."""
    ours, uvicorns = (Connection(answering(*messages), protocol) for protocol in (HttpProtocol, HttpToolsProtocol))
    for _ in range(2):
        sent, expected = [b"".join(await connection.ask(data)) for connection in (ours, uvicorns)]

        if b"HTTP/1.1 500 " not in sent:
            # Where an answer breaks off, uvicorn has sent its head already.
            assert sent == expected
        assert ours.wire.is_closed == uvicorns.wire.is_closed
        if ours.wire.is_closed:
            return


async def test_a_connection_is_closed_once_it_has_been_idle_for_long_enough() -> None:
    clock = Clock()
    connection = Connection(answering(START, BODY), clock=clock)
    await connection.ask()
    for now in (3, 6, 9):
        clock.advance_to(now)
        await connection.ask()
    clock.advance_to(13.9)
    assert not connection.wire.is_closed
    assert len(clock.timers) == 1
    clock.advance_to(14)

    assert connection.wire.is_closed


async def test_a_connection_is_not_idle_while_a_request_is_on_its_way_or_answered() -> None:
    clock, go = Clock(), asyncio.Event()

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        if scope["path"] == "/wait":
            await go.wait()
        await send({**START})
        await send({**BODY})

    connection = Connection(app, clock=clock)
    await connection.ask()
    connection.protocol.data_received(b"G")
    clock.advance_to(20)
    assert not connection.wire.is_closed
    connection.protocol.data_received(b"ET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
    clock.advance_to(40)
    assert not connection.wire.is_closed
    go.set()
    await connection.ask(b"")
    clock.advance_to(44.9)
    assert not connection.wire.is_closed
    clock.advance_to(45)

    assert connection.wire.is_closed


@pytest.mark.parametrize("before", [b"", REQUEST], ids=["the first", "the second"])
async def test_a_connection_is_not_idle_while_a_body_comes_that_is_answered_already(before: bytes) -> None:
    """Who is still sending when the connection is closed gets a reset, and never sees the answer."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({**START})
        await send({**BODY})

    clock = Clock()
    connection = Connection(app, clock=clock)
    if before:
        await connection.ask(before)
    clock.advance_to(1)
    await connection.ask(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n")
    for now in (3, 10, 20):
        connection.protocol.data_received(b"a")
        clock.advance_to(now)
    assert not connection.wire.is_closed
    await connection.ask(b"aa" + REQUEST)
    clock.advance_to(24.9)
    assert not connection.wire.is_closed
    clock.advance_to(25)

    assert connection.wire.is_closed


async def test_who_is_answered_early_and_sends_no_body_is_idle() -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({**START})
        await send({**BODY})

    clock = Clock()
    connection = Connection(app, clock=clock)
    await connection.ask(b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
    clock.advance_to(5)

    assert connection.wire.is_closed


async def test_nothing_watches_a_connection_that_is_gone() -> None:
    clock = Clock()
    connection = Connection(answering(START, BODY), clock=clock)
    await connection.ask()
    assert clock.timers
    connection.protocol.connection_lost(None)

    assert not clock.timers


UPGRADE = (
    b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n\r\n"
)
ACCEPT: Mapping[str, Any] = {"type": "websocket.accept"}
TEXT: Mapping[str, Any] = {"type": "websocket.send", "text": "hello"}
BYTES: Mapping[str, Any] = {"type": "websocket.send", "bytes": b"hello"}
CLOSE: Mapping[str, Any] = {"type": "websocket.close"}


@pytest.mark.parametrize(
    "messages",
    [
        [ACCEPT, TEXT, BYTES, TEXT],
        [ACCEPT, {**TEXT, "bytes": None}, TEXT, {**BYTES, "text": None}, {**TEXT, "bytes": b"both"}],
        [ACCEPT, CLOSE, TEXT],
        [ACCEPT, {"type": "websocket.send"}],
        [ACCEPT, {**TEXT, "type": "websocket.unknown"}],
        [TEXT],
        [CLOSE],
    ],
    ids=str,
)
async def test_a_websocket_sends_what_uvicorn_sends(messages: list[Mapping[str, Any]]) -> None:
    """Sent at once where it can be, and else as ASGI has it."""
    sent: list[list[bytes]] = []
    failed: list[list[str]] = []
    at_once = list[bool]()
    for protocol in (WebSocketProtocol, WebSocketsSansIOProtocol):
        errors: list[str] = []

        async def app(scope: Any, receive: Any, send: Any, errors: list[str] = errors) -> None:
            await receive()
            for message in messages:
                try:
                    if message is TEXT and SEND_NOW in scope:
                        at_once.append(scope[SEND_NOW](message["text"]))
                        if at_once[-1]:
                            continue
                    await send({**message})
                except Exception as error:  # noqa: BLE001
                    errors.append(repr(error))

        connection = Connection(app, protocol)
        sent.append(await connection.ask(UPGRADE))
        failed.append(errors)

    assert sent[0] == sent[1]
    assert failed[0] == failed[1]
    until_closed = messages[: messages.index(CLOSE)] if CLOSE in messages else messages
    assert at_once == [message in until_closed and ACCEPT in messages for message in messages if message is TEXT]


# ------------------------------------------------------------------------------------------------------ a real server


async def echo(request: Request) -> Response:
    return PlainTextResponse(await request.body())


async def stream(_request: Request) -> Response:
    async def parts() -> AsyncGenerator[bytes]:
        yield b"one"
        await asyncio.sleep(30)
        yield b"two"

    return StreamingResponse(parts())


async def echoing(_scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send(ACCEPT)
    while (message := await receive())["type"] == "websocket.receive":
        await send({**TEXT, "text": message["text"]})


async def talk(socket: WebSocket) -> None:
    await socket.accept()
    text = await socket.receive_text()
    if not socket.scope[SEND_NOW](text):
        await socket.send_text(text)
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
    config = uvicorn.Config(app, port=0, log_level="critical", lifespan="off", http=HttpProtocol, ws=WebSocketProtocol)
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
    async with asyncio.timeout(30):
        writer.write(b"".join(request("/echo", body) for body in bodies) + request("/echo", method="HEAD"))
        answers = [await read_answer(reader) for _ in bodies]
        head = await reader.readuntil(b"\r\n\r\n")
    writer.close()

    assert answers == bodies
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_stream_begins_at_once(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(30):
        writer.write(request("/stream", method="GET"))
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(8) == b"3\r\none\r\n"
    writer.close()


async def test_who_asks_whether_to_send_is_told_to(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(30):
        writer.write(request("/echo", b"abc", more="expect: 100-continue\r\n").removesuffix(b"abc"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert await read_answer(reader) == b"abc"
    writer.close()


@pytest.mark.parametrize("compression", ["deflate", None])
@pytest.mark.parametrize("length", [1, 125, 126, 65_535, 65_536])
async def test_a_websocket_says_what_it_is_told(port: int, length: int, compression: Literal["deflate"] | None) -> None:
    text = "ü" + "a" * (length - 2) if length > 1 else "a"
    async with asyncio.timeout(30), connect(f"ws://127.0.0.1:{port}/talk", compression=compression) as socket:
        assert [extension.name for extension in socket.protocol.extensions] == [
            "permessage-deflate" for _ in [compression] if compression
        ]
        await socket.send(text)
        assert await socket.recv() == text


MASKED = 0x80


def frame(opcode: int, data: bytes, *, claims: int | None = None) -> bytes:
    """A client's frame, masked with zeros; it may claim to be longer than it is."""
    length = len(data) if claims is None else claims
    return bytes([0x80 | opcode, MASKED | 127]) + length.to_bytes(8, "big") + bytes(4) + data


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (frame(1, b"\xff"), 1007),
        (frame(1, b"x", claims=1 << 40), 1009),
        (frame(3, b"no such kind of frame"), 1002),
    ],
    ids=["no UTF-8", "too large", "no frame"],
)
async def test_who_goes_on_sending_still_hears_why_the_socket_was_closed(port: int, broken: bytes, code: int) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setblocking(False)
        async with asyncio.timeout(30):
            await loop.sock_connect(client, ("127.0.0.1", port))
            await loop.sock_sendall(client, UPGRADE.replace(b" / ", b" /talk "))
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += await loop.sock_recv(client, 1)
            await loop.sock_sendall(client, broken)
            # It has closed by now. We have not seen it, and send on.
            assert await loop.sock_recv(client, 1) == b"\x88"
            for _ in range(3):
                await loop.sock_sendall(client, frame(1, b"more" * 1000))
                await asyncio.sleep(0.01)
            await loop.sock_sendall(client, frame(8, code.to_bytes(2, "big")))
            heard = b""
            while piece := await loop.sock_recv(client, 1000):
                heard += piece

    assert int.from_bytes(heard[1:3], "big") == code
    assert len(heard) == 1 + heard[0]  # nothing comes after the reason


@pytest.mark.parametrize("broken", [frame(1, b"\xff"), frame(3, b"no such kind of frame")], ids=["text", "frame"])
async def test_who_does_not_close_after_a_broken_frame_is_cut_off(broken: bytes) -> None:
    clock = Clock()
    connection = Connection(echoing, WebSocketProtocol, clock)
    connection.protocol.data_received(UPGRADE)
    await until(lambda: bool(connection.wire.pieces))
    await connection.ask(broken)
    clock.advance_to(9.9)
    await connection.ask(frame(1, b"more"))
    assert not connection.wire.is_closed
    clock.advance_to(10)

    assert connection.wire.is_closed


async def test_who_has_closed_behind_a_broken_text_is_answered() -> None:
    clock = Clock()
    connection = Connection(echoing, WebSocketProtocol, clock)
    connection.protocol.data_received(UPGRADE)
    await until(lambda: bool(connection.wire.pieces))

    assert await connection.ask(frame(1, b"\xff") + frame(8, (1000).to_bytes(2, "big"))) == [b"\x88\x02\x03\xe8"]
    clock.advance_to(10)
    assert connection.wire.is_closed


async def test_who_breaks_a_frame_before_there_is_a_socket_is_cut_off() -> None:
    connection = Connection(echoing, WebSocketProtocol, Clock())

    assert await connection.ask(UPGRADE + frame(3, b"no such kind of frame")) == []
    assert connection.wire.is_closed


async def test_a_socket_that_is_closed_is_not_left_for_a_search_for_cycles(port: int) -> None:
    async def closed_sockets() -> None:
        for _ in range(10):
            async with connect(f"ws://127.0.0.1:{port}/talk") as socket:
                await socket.send("text")
                await socket.recv()

    def kept() -> int:
        return sum(type(each) is WebSocketProtocol for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = kept()
        await closed_sockets()
        await until(lambda: kept() == before)
    finally:
        gc.enable()


async def test_who_closes_after_a_broken_text_is_not_waited_for() -> None:
    clock = Clock()
    connection = Connection(echoing, WebSocketProtocol, clock)
    connection.protocol.data_received(UPGRADE)
    await until(lambda: bool(connection.wire.pieces))
    await connection.ask(frame(1, b"\xff"))
    # A ping is answered still, as to whoever has sent a frame before it was told.
    assert await connection.ask(frame(9, b"ping")) == [b"\x8a\x04ping"]
    await connection.ask(frame(8, (1007).to_bytes(2, "big")))

    assert connection.wire.is_closed
