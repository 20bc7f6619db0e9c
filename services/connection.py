"""A connection for httpcore, on asyncio itself.

Over anyio, as httpcore has it by itself, a short call takes half as much processor time again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self, cast

import httpcore

if TYPE_CHECKING:
    import ssl

# More than that is not received before some of it is read.
_MOST_UNREAD_BYTES = 256 * 1024


class Connection(asyncio.Protocol, httpcore.AsyncNetworkStream):
    """A TCP connection, or TLS over it. What is written is sent when something is read, in one piece.

    Nothing has a time-out of its own: who calls lays one around it.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._unsent = list[bytes]()
        self._received = bytearray()
        self._is_paused = self._is_tls = self._has_ended = False
        self._error: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None

    @classmethod
    async def to(cls, address: str, port: int) -> Self:
        """Connect to an IP address. Raises OSError."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, address, port)
        return connection

    # ------------------------------------------------------------------------------------- what httpcore asks for

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Send what is written, and return what there is as soon as there is anything; nothing at the end.

        Raises httpcore.ReadError where the connection has broken, once all that had come before is read.
        """
        del timeout
        if self._unsent and self._transport is not None:
            self._transport.write(b"".join(self._unsent))
            self._unsent.clear()
        while not self._received and not self._has_ended:
            self._waiting = self._loop.create_future()
            await self._waiting
        if not self._received and self._error is not None:
            raise httpcore.ReadError from self._error
        data = bytes(self._received[:max_bytes])
        del self._received[:max_bytes]
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Have it sent before the next read."""
        del timeout
        self._unsent.append(buffer)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Self:
        """Go on in TLS. Raises OSError, as ssl.SSLError is one."""
        del timeout
        transport = cast("asyncio.Transport", self._transport)
        self._is_tls = True
        self._transport = await self._loop.start_tls(transport, self, ssl_context, server_hostname=server_hostname)
        return self

    async def aclose(self) -> None:
        """End it, see `close`."""
        self.close()

    def close(self) -> None:
        """End it at once, whatever is still to be sent."""
        if self._transport is not None:
            self._transport.abort()

    def get_extra_info(self, info: str) -> object:
        """Nothing that is asked for."""
        del info
        return None

    # --------------------------------------------------------------------------------------- what asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Keep what has come until it is read."""
        self._received += data
        if len(self._received) > _MOST_UNREAD_BYTES and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """Note that no more will come. What is still to be sent is sent, where TCP can do that."""
        self._has_ended = True
        self._wake()
        return not self._is_tls

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that nothing will come or go any more."""
        self._has_ended = True
        self._error = exc
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
