"""A connection to an agent, on the loop of the tests and on the one that the service runs on."""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import TypeAlias

import httpcore
import pytest
import uvloop

from services.connection import Connection
from tests.schema.conftest import until

Talk: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

LARGE = bytes(range(256)) * 8192


def on_both(
    scene: Callable[[], Coroutine[None, None, None]],
) -> Callable[[Callable[[], asyncio.AbstractEventLoop]], None]:
    @pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
    def test(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
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
    connection = await Connection.to("127.0.0.1", server.sockets[0].getsockname()[1])
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
async def test_who_is_not_read_has_to_wait_and_is_read_to_the_end() -> None:
    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(LARGE)
        await writer.drain()

    async with connected(talk) as connection:
        await until(lambda: connection._is_paused)  # noqa: SLF001
        assert len(connection._received) < len(LARGE) // 2  # noqa: SLF001
        assert await all_of(connection) == LARGE


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
