"""HTTP as uvicorn speaks it, with the head of an answer and its body in one piece.

uvicorn writes them one after the other, and uvloop sends at once what is written: that is two system calls, and two
packets for the client.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.auto import AutoHTTPProtocol

if TYPE_CHECKING:
    Base = asyncio.Protocol
else:
    Base = AutoHTTPProtocol

_HEAD = b"HTTP/1."
# Copying more than that takes longer than a system call.
_LARGEST_JOINED_BYTES = 1 << 16


class Joining:
    """A transport that keeps the head of an answer until its body comes, or until the present step of the loop is over.

    Whatever else there is to a transport is the real one's, to which nothing is done before what is kept is written.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        # Asked of every request.
        self.is_closing = transport.is_closing
        self._call_soon = asyncio.get_running_loop().call_soon
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        """Return what the transport has."""
        self.flush()
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        """Write, now or in a moment."""
        head = self._head
        if head:
            if len(data) <= _LARGEST_JOINED_BYTES:
                self._head = b""
                self.transport.write(head + data)
                return
            self.flush()
        elif data.startswith(_HEAD):
            self._head = data
            self._call_soon(self.flush)
            return
        self.transport.write(data)

    def flush(self) -> None:
        """Write what is kept."""
        head, self._head = self._head, b""
        if head and not self.is_closing():
            self.transport.write(head)


class HttpProtocol(Base):
    """Give it to uvicorn as `http`."""

    transport: Any

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin a connection."""
        super().connection_made(cast("asyncio.Transport", Joining(cast("asyncio.Transport", transport))))

    def handle_websocket_upgrade(self, *event: object) -> None:
        """Hand the connection over: a WebSocket has nothing to join, and comes after what was kept."""
        self.transport.flush()
        self.transport = self.transport.transport
        cast("Any", super()).handle_websocket_upgrade(*event)
