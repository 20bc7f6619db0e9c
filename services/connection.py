"""A connection for httpcore, on asyncio itself.

Over anyio, as httpcore has it by itself, a short call takes half as much processor time again.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Self, cast

import httpcore

if TYPE_CHECKING:
    import ssl

# Reading such a piece, h11 takes some 30 ms at worst; others have a turn in between.
_MOST_AT_ONCE_BYTES = 16 * 1024
# Somebody who sends faster than they can be read is cut off there.
_MOST_UNREAD_BYTES = 4 * 1024 * 1024


class Connection(asyncio.Protocol, httpcore.AsyncNetworkStream):
    """A TCP connection, or TLS over it. What is written is sent when something is read, in one piece.

    Nothing has a time-out of its own: who calls lays one around it. It never goes on in TLS: what came before
    would count as if it had come through that.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._unsent = list[bytes]()
        self._received = bytearray()
        self._has_ended = self._is_lost = False
        self._error: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None

    @classmethod
    async def over(cls, connected: socket.socket, tls: ssl.SSLContext | None, host: str) -> Self:
        """Begin on a socket that is connected, which it closes in the end, and in TLS with `host`, where that is given.

        Nothing is received before TLS is there. Raises OSError, as ssl.SSLError is one.
        """
        made, name = cls(), None if tls is None else host
        try:
            await made._loop.create_connection(lambda: made, sock=connected, ssl=tls, server_hostname=name)
        except BaseException:
            # First what reads from it, which asyncio leaves there where TLS had just begun: the number of a socket
            # that is closed is the next one's.
            made.close()
            connected.close()
            raise
        return made

    # ------------------------------------------------------------------------------------- what httpcore asks for

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Send what is written, and return what there is as soon as there is anything; nothing at the end.

        Raises httpcore.ReadError where the connection has broken, once all that had come before is read.
        """
        del timeout
        if self._unsent and self._transport is not None and not self._is_lost:
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()
        if self._received:
            await asyncio.sleep(0)
        while not self._received and not self._has_ended:
            self._waiting = self._loop.create_future()
            await self._waiting
        if not self._received and self._error is not None:
            raise httpcore.ReadError from self._error
        size = min(max_bytes, _MOST_AT_ONCE_BYTES)
        data = bytes(self._received[:size])
        del self._received[:size]
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Have it sent before the next read."""
        del timeout
        self._unsent.append(buffer)

    async def aclose(self) -> None:
        """End it, see `close`."""
        self.close()

    def close(self) -> None:
        """End it at once, whatever is still to be sent."""
        if self._transport is not None:
            self._transport.abort()

    # --------------------------------------------------------------------------------------- what asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Keep what has come until it is read."""
        # No pausing: an end that comes meanwhile costs what uvloop holds of TLS then.
        self._received += data
        if len(self._received) > _MOST_UNREAD_BYTES:
            self._error = ConnectionAbortedError("it sent faster than it could be read")
            self.close()
        self._wake()

    def eof_received(self) -> bool:
        """Note that no more will come. What is still to be sent is sent, where TCP can do that."""
        self._has_ended = True
        self._wake()
        return self._transport is not None and self._transport.get_extra_info("ssl_object") is None

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that nothing will come or go any more."""
        self._has_ended = self._is_lost = True
        self._error = self._error or exc
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


async def connected(address: str, port: int) -> socket.socket:
    """Connect to an IP address. Raises OSError."""
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setblocking(False)  # noqa: FBT003
        await asyncio.get_running_loop().sock_connect(made, (address, port))
    except BaseException:
        made.close()
        raise
    return made
