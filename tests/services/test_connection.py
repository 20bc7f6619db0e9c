"""A connection to an agent, on the loop of the tests and on the one that the service runs on."""

import asyncio
import select
import socket
import ssl
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import httpcore
import pytest
import uvloop

import services.connection
from services.connection import Connection
from services.connection import connected as open_to
from tests.schema.conftest import until

Talk: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

LARGE = bytes(range(256)) * 8192


Loop: TypeAlias = Callable[[], asyncio.AbstractEventLoop]

loops = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


def on_both(scene: Callable[[], Coroutine[None, None, None]]) -> Callable[[Loop], None]:
    @loops
    def test(loop: Loop) -> None:
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(scene())

    return test


@asynccontextmanager
async def connected(talk: Talk) -> AsyncGenerator[Connection]:
    """A connection to somebody who talks like that."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    open_socket = await open_to("127.0.0.1", server.sockets[0].getsockname()[1])
    connection = await Connection.over(open_socket, None, "127.0.0.1")
    try:
        async with asyncio.timeout(30):
            yield connection
    finally:
        connection.close()
        server.close()


async def all_of(connection: Connection) -> bytes:
    received = b""
    while data := await connection.read(1 << 16):
        received += data
    return received


@on_both
async def test_it_is_one_piece_that_is_sent_once_something_is_read() -> None:
    first = asyncio.get_running_loop().create_future()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first.set_result(await reader.read(100))
        writer.write(b"heard")

    async with connected(talk) as connection:
        await connection.write(b"head ")
        await connection.write(b"")
        await connection.write(b"body")
        assert await connection.read(3) == b"hea"
        assert await all_of(connection) == b"rd"

    assert first.result() == b"head body"


@on_both
async def test_what_is_large_is_read_to_the_end_a_little_at_a_time() -> None:
    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(LARGE)
        await writer.drain()

    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with connected(talk) as connection:
        await until(lambda: connection._has_ended)  # noqa: SLF001
        beside = asyncio.create_task(others())
        assert await all_of(connection) == LARGE
        beside.cancel()

    assert turns > len(LARGE) // (1 << 16)


@on_both
async def test_who_sends_faster_than_they_can_be_read_is_cut_off_and_no_end_is_taken_for_theirs() -> None:
    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while True:
                writer.write(LARGE)
                await writer.drain()

    async with connected(talk) as connection:
        await until(lambda: connection._has_ended)  # noqa: SLF001
        assert len(connection._received) < 2 * services.connection._MOST_UNREAD_BYTES  # noqa: SLF001
        with pytest.raises(httpcore.ReadError):
            await all_of(connection)


@on_both
async def test_an_answer_is_heard_though_what_is_sent_is_not_read() -> None:
    heard = asyncio.Event()

    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"too large")
        await heard.wait()

    async with connected(talk) as connection:
        await connection.write(LARGE * 8)
        assert await connection.read(100) == b"too large"
        heard.set()


@on_both
async def test_what_came_before_it_broke_is_read_first() -> None:
    arrived = asyncio.Event()

    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"half an ans")
        await arrived.wait()
        to: socket.socket = writer.get_extra_info("socket")
        to.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with connected(talk) as connection:
        await until(lambda: len(connection._received) == 11)  # noqa: SLF001
        arrived.set()
        await until(lambda: connection._has_ended)  # noqa: SLF001
        assert await connection.read(100) == b"half an ans"
        for _ in range(2):
            with pytest.raises(httpcore.ReadError):
                await connection.read(100)


# ------------------------------------------------------------------------------------------------------------ TLS


@loops
def test_what_comes_before_tls_is_never_read(loop: Loop, certificate: Path) -> None:
    async def scene() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            to = await open_to("127.0.0.1", server.getsockname()[1])
            with server.accept()[0] as accepted:
                accepted.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged")
                assert select.select([to], [], [], 30)[0]
                with pytest.raises(OSError, match="SSL"):
                    await Connection.over(to, ssl.create_default_context(cafile=certificate), "agent.example")

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scene())


@loops
def test_what_is_large_is_read_to_the_end_though_tls_does_not_say_that_it_is(loop: Loop, certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def serve(server: socket.socket) -> None:
        with context.wrap_socket(server.accept()[0], server_side=True) as accepted:
            accepted.sendall(LARGE)

    async def scene() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            serving = asyncio.create_task(asyncio.to_thread(serve, server))
            to = await open_to("127.0.0.1", server.getsockname()[1])
            connection = await Connection.over(to, ssl.create_default_context(cafile=certificate), "agent.example")
            await serving
            await until(lambda: connection._has_ended)  # noqa: SLF001
            assert await all_of(connection) == LARGE
            connection.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scene())


def test_who_is_cancelled_as_tls_begins_leaves_nothing_that_reads(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of its socket is the next one's. On asyncio: uvloop keeps a socket that is read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def serve(server: socket.socket) -> None:
        # It never says that TLS ends.
        with suppress(OSError), context.wrap_socket(server.accept()[0], server_side=True) as accepted:
            accepted.settimeout(5)
            accepted.recv(1)

    async def scene() -> None:
        loop: Any = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as server:
            serving = asyncio.create_task(asyncio.to_thread(serve, server))
            to = await open_to("127.0.0.1", server.getsockname()[1])
            number, begin = to.fileno(), Connection.connection_made
            trusted = ssl.create_default_context(cafile=certificate)
            beginning = asyncio.create_task(Connection.over(to, trusted, "agent.example"))

            def cancelled(self: Connection, transport: asyncio.BaseTransport) -> None:
                begin(self, transport)
                beginning.cancel()

            with monkeypatch.context() as during:
                during.setattr(Connection, "connection_made", cancelled)
                await asyncio.wait({beginning})
            assert beginning.cancelled()
            assert to.fileno() == -1
            assert number not in loop._selector.get_map()  # noqa: SLF001
            await serving

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(scene())
