"""HTTP and WebSockets as uvicorn speaks them, with less to do for each answer and message.

The head of an answer and its body go out in one piece: uvicorn writes them one after the other, and uvloop sends at
once what is written, which is two system calls, and two packets for the client. Headers that come again are not looked
at again. And one timer watches a connection for as long as it is there, where uvicorn makes one after each answer and
cancels it with the next request.

One thing more than uvicorn does: whoever sends frames that are broken hears why the socket was closed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.protocol import State

from schema.endpoint import SEND_NOW

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from starlette.types import Message

    Header: TypeAlias = tuple[bytes, bytes]

# Copying more than that takes longer than a system call.
_LARGEST_JOINED_BYTES = 1 << 16
_LENGTH = b"content-length"
# What these say, uvicorn has to know.
_FRAMING = frozenset({b"connection", b"transfer-encoding"})
# Another value in nearly every answer.
_FLEETING = frozenset(
    {_LENGTH, b"date", b"x-trace-id", b"etag", b"last-modified", b"location", b"retry-after", b"set-cookie"}
)
# Of these, those whose value is one word: nothing is wrong with a word.
_PLAIN = frozenset({_LENGTH, b"x-trace-id"})
# All answers of ours together have some fifty others.
_MOST_KNOWN = 500


class _Done:
    """What to await where all is done."""

    def __await__(self) -> Iterator[None]:
        return iter(())


_DONE = _Done()


class Cycle(RequestResponseCycle):
    """A request and its answer. An answer's head waits for the body, as ASGI lets servers do.

    An answer that comes in one body goes out in one piece. All that is less simple is left to uvicorn.
    """

    _head: Any = None

    # No coroutine: mostly there is nothing to wait for.
    def send(self, message: Any) -> Any:
        """Send the next part of the answer, or keep it."""
        head = self._head
        if head is not None:
            self._head = None
            return _DONE if self._sent_whole(head, message) else self._sent_apart(head, message)
        if message["type"] == "http.response.start" and not self.response_started:
            # As when it is sent: who answers before the body has come does not want it any more.
            self.waiting_for_100_continue = False
            self._head = message
            return _DONE
        return super().send(message)

    async def _sent_apart(self, *messages: Any) -> None:
        for message in messages:
            await super().send(message)

    async def send_500_response(self) -> None:
        """Answer instead of an application that has failed."""
        self._head = None
        await super().send_500_response()

    def _sent_whole(self, head: Message, message: Message) -> bool:
        """Send an answer in one piece, unless there is anything about it that uvicorn has to see to."""
        body = message.get("body", b"")
        length = len(body)
        if (
            message["type"] != "http.response.body"
            or message.get("more_body", False)
            or length > _LARGEST_JOINED_BYTES
            or not self.keep_alive
            or self.disconnected
            or self.flow.write_paused
            or self.access_log
            or self.scope["method"] == "HEAD"
        ):
            return False
        headers = head.get("headers", ())
        if headers.__class__ is not list or (_LENGTH, b"%d" % length) not in headers:
            return False
        lines: list[Any] = [_KNOWN.get(header) or _line(header) for header in headers]
        common = _written(tuple(self.default_headers))
        if common is None or None in lines:
            return False
        self.transport.write(b"".join([STATUS_LINE[head["status"]], common, *lines, b"\r\n", body]))
        self.response_started = self.response_complete = True
        self.message_event.set()
        self.on_response()
        return True


class HttpProtocol(HttpToolsProtocol):
    """Give it to uvicorn as `http`."""

    _idle_since = 0.0
    _watch: asyncio.TimerHandle | None = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # uvicorn has no place to say what a cycle is made of.
        cycle.__class__ = Cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Go on with the next request, or wait for it."""
        # The rest of a body that was answered early may take long to come: uvicorn's timer ends with its next piece.
        if self.pipeline or self.cycle.more_body or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self._watch is None:
            self._watch = self.loop.call_later(self.timeout_keep_alive, self._look)

    def _look(self) -> None:
        """Close the connection where it has been idle for long enough; watch on where it is idle."""
        self._watch = None
        cycle = self.cycle
        # A scope is made as soon as the first byte of a request has come.
        if cycle.response_complete and not cycle.more_body and cycle.scope is self.scope:
            left = self._idle_since + self.timeout_keep_alive - self.loop.time()
            if left > 0:
                self._watch = self.loop.call_later(left, self._look)
            else:
                self.timeout_keep_alive_handler()

    def connection_lost(self, exc: Exception | None) -> None:
        """End with the connection."""
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Give it to uvicorn as `ws`."""

    async def run_asgi(self) -> None:
        """Run the application, which is told how to send a text at once."""
        scope = cast("dict[str, Any]", self.scope)
        scope[SEND_NOW] = self.send_now
        try:
            await super().run_asgi()
        finally:
            del scope[SEND_NOW]  # else only a search for cycles would find this

    def send_now(self, text: str) -> bool:
        """Send a text as one frame, unless uvicorn has to see to anything about that; whether it is sent."""
        connection = self.conn
        # It is open from the handshake's end until either side has sent a close frame.
        if connection.state is not State.OPEN or connection.extensions or self.disconnected:
            return False
        if not self.writable.is_set():
            return False
        self.transport.write(text_frame(text))
        return True

    def data_received(self, data: bytes) -> None:
        """Receive what has come."""
        try:
            super().data_received(data)
        except InvalidState:
            # Behind a text that is no UTF-8 came the client's own close, whose answer is still to be sent.
            self.handle_parser_exception()

    def handle_parser_exception(self) -> None:
        """Say what is wrong with a frame, and wait until the client has closed as well.

        Closed at once, with something of the client's still to come, the connection is reset, and what was said is
        lost. RFC 6455, section 7.1.1. What comes meanwhile is read and dropped.
        """
        if self.close_sent:
            return
        self.close_sent = True
        said = self.conn.close_sent
        if said is None:  # there is no socket yet that could be closed in its own words
            self.handshake_complete = True
            self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006})
            self.transport.close()
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": said.code, "reason": said.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        if self.conn.eof_sent and self.transport.can_write_eof():
            self.transport.write_eof()
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)


def text_frame(text: str) -> bytes:
    """Write a text as a whole message of a server, unmasked. RFC 6455, section 5.2."""
    data = text.encode()
    length = len(data)
    if length < 126:  # noqa: PLR2004
        return b"\x81%c%b" % (length, data)
    if length < 1 << 16:
        return b"\x81\x7e%b%b" % (length.to_bytes(2, "big"), data)
    return b"\x81\x7f%b%b" % (length.to_bytes(8, "big"), data)


_KNOWN: dict[Header, bytes] = {}


@lru_cache(1)
def _written(headers: tuple[Header, ...]) -> bytes | None:
    """Write what every answer has: the date, which is another one each second."""
    lines = [_line(header) for header in headers]
    return None if None in lines else b"".join(cast("list[bytes]", lines))


def _line(header: Header) -> bytes | None:
    """Write a header; None where it is for uvicorn to see to, or to refuse."""
    name, value = header
    if name in _PLAIN and value.isalnum():
        return b"%b: %b\r\n" % header
    if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value) or name in _FRAMING or name != name.lower():
        return None
    line = b"%b: %b\r\n" % header
    if name not in _FLEETING and len(_KNOWN) < _MOST_KNOWN:
        _KNOWN[header] = line
    return line
