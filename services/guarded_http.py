"""The one way out to addresses that others name: a POST and its bounded answer, over a connection that was checked.

Agents are called through it, and a validator that is asked over HTTP. A host is resolved once and the very address
that `Guard` allowed is connected to, under the host's own name (Host, SNI). Redirects and proxies are not followed,
compressed bodies not opened, sizes bounded, and a deadline lies around the whole.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from functools import cache
from typing import TYPE_CHECKING, NoReturn

import httpcore
import httpx

from services.connection import Connection, connected
from services.guard import EndpointNotAllowedError, Guard, endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.guard import Endpoint

MAX_ANSWER_BYTES = 2 * 1024 * 1024
MAX_HEADER_BYTES = 64 * 1024
MAX_ERROR_BYTES = 64 * 1024
"""Read of an answer that reports an error: far more than is shown, so that no cut falls into a credential."""
CONNECT_SECONDS = 10.0
"""Per address. A kernel tries for two minutes; who is there answers within a round trip."""

# An error's body is a courtesy: it is not worth much waiting.
_ERROR_BODY_SECONDS = 5.0
_MAX_RETRY_AFTER_SECONDS = 24 * 3600.0


class Reach(Enum):
    """How far a call got that brought no usable answer, which decides what may be done next."""

    NOT_ALLOWED = auto()
    """The address is none that may be called: nothing was sent, and nothing will be."""
    NOT_SENT = auto()
    """It provably never arrived: DNS, refused, TLS, no connection in time."""
    CUT = auto()
    """It may have arrived, but the connection broke before a complete answer came."""
    TIMED_OUT = auto()
    """As CUT, because the time ran out."""
    ANSWERED = auto()
    """An answer came that is refused unread: too large, or compressed."""


class CallError(Exception):
    """A call brought no usable answer.

    `code` is a stable word for programs, `message` one sentence for people that does not say where the other side
    lives, `received` the beginning of what came back.
    """

    def __init__(
        self, reach: Reach, code: str, message: str, *, http_status: int | None = None, received: bytes = b""
    ) -> None:
        super().__init__(message)
        self.reach = reach
        self.code = code
        self.message = message
        self.http_status = http_status
        self.received = received


@dataclass(frozen=True)
class Answer:
    """What came back: a whole body with a 2xx status, else as much of it as came quickly, perhaps nothing."""

    http_status: int
    body: bytes = field(repr=False)
    retry_after_seconds: float | None = None

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.http_status < 300  # noqa: PLR2004


@cache
def _trust(_own_authorities: str | None) -> ssl.SSLContext:
    """Read once whom this machine trusts, which takes 20 ms; httpx heeds the operator's own file of authorities."""
    context = httpx.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class GuardedHttp:
    """Calls whoever lives where `guard` allows it; `who` names them in messages ("agent")."""

    def __init__(self, guard: Guard, who: str, answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._guard = guard
        self._who = who
        self._answer_bytes = answer_bytes
        self._tls = _trust(os.environ.get("SSL_CERT_FILE"))

    async def post(self, url: str, body: str, headers: Mapping[str, str], *, timeout_seconds: float) -> Answer:
        """Send one JSON text over a connection of its own. Raises CallError; never tries a second time."""
        call = _Call(url, body, headers, timeout_seconds, self._guard, self._tls, self._who, self._answer_bytes)
        try:
            async with asyncio.timeout(timeout_seconds):
                return await call.run()
        except TimeoutError:
            raise call.timed_out() from None


@dataclass
class _Call:
    """One request on its way."""

    url: str
    body: str
    headers: Mapping[str, str]
    timeout_seconds: float
    guard: Guard
    tls: ssl.SSLContext
    who: str
    answer_bytes: int
    may_have_arrived: bool = field(default=False, init=False)
    http_status: int | None = field(default=None, init=False)

    async def run(self) -> Answer:
        """Resolve, connect, send, read. Raises CallError."""
        to, addresses = await self._checked()
        connection = await self._over(await self._connected(addresses, to.port), to)
        self.may_have_arrived = True
        try:
            return await self._exchange(connection, to)
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            # h11 hints at 431 (Request Header Fields Too Large) where its own bound on headers was reached.
            if getattr(error.__cause__, "error_status_hint", None) == 431:  # noqa: PLR2004
                self._fail_headers()
            message = f"The {self.who} was sent the request, but the connection broke before a complete answer came."
            self._fail(Reach.CUT, "connection_broken", message)
        finally:
            connection.close()

    def timed_out(self) -> CallError:
        """Say what it means that the time is up."""
        if not self.may_have_arrived:
            message = f"The {self.who} could not be connected to in time."
            return CallError(Reach.NOT_SENT, "connect_timeout", message)
        message = f"The {self.who} did not answer completely within {round(self.timeout_seconds, 2):g} s."
        return CallError(Reach.TIMED_OUT, "timeout", message, http_status=self.http_status)

    async def _checked(self) -> tuple[Endpoint, Sequence[str]]:
        """Read the URL and resolve its host to addresses that may be connected to."""
        try:
            to = endpoint(self.url)
            return to, await self.guard.addresses(to.host, to.port)
        except EndpointNotAllowedError:
            # Messages reach people who are not told where agents live: neither the name nor the address is in it.
            message = f"The {self.who}'s address is none that {self.who}s may have."
            self._fail(Reach.NOT_ALLOWED, "endpoint_not_allowed", message)
        except TimeoutError:
            self._fail(Reach.NOT_SENT, "dns_timeout", f"The {self.who}'s host could not be resolved in time.")
        except OSError as error:
            unknown = isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME
            why = "does not exist" if unknown else "could not be resolved"
            self._fail(Reach.NOT_SENT, "dns_failed", f"The {self.who}'s host {why}.")

    async def _connected(self, addresses: Sequence[str], port: int) -> socket.socket:
        """Connect to the first address that can be."""
        last: OSError | None = None
        for address in addresses:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    return await connected(address, port)
            except OSError as error:
                last = error
        if isinstance(last, TimeoutError):
            raise self.timed_out()
        if isinstance(last, ConnectionRefusedError):
            raise CallError(Reach.NOT_SENT, "connection_refused", f"The {self.who} refused the connection.")
        raise self._unconnected()

    async def _over(self, connected: socket.socket, to: Endpoint) -> Connection:
        """Begin, in TLS with whoever proves to be that host where the URL says so."""
        tls = self.tls if to.url.scheme == "https" else None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await Connection.over(connected, tls, to.host)
        except TimeoutError:
            raise self.timed_out() from None
        except OSError as error:
            if tls is None:
                raise self._unconnected() from None
            why = f" ({error.verify_message})" if isinstance(error, ssl.SSLCertVerificationError) else ""
            self._fail(Reach.NOT_SENT, "tls_failed", f"The {self.who} and TLS: no secure connection{why}.")

    async def _exchange(self, connection: Connection, to: Endpoint) -> Answer:
        url, body = to.url, self.body.encode()
        headers = {
            "host": url.netloc.decode("ascii"),
            "content-type": "application/json",
            "content-length": str(len(body)),
            "accept": "application/json",
            "accept-encoding": "identity",
            "connection": "close",
            "user-agent": "signoff",
            **self.headers,
        }
        where = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=to.port, target=url.raw_path)
        request = httpcore.Request("POST", where, headers=list(headers.items()), content=body)
        exchange = httpcore.AsyncHTTP11Connection(request.url.origin, connection)
        return await self._read(await exchange.handle_async_request(request))

    async def _read(self, response: httpcore.Response) -> Answer:
        status = self.http_status = response.status
        if not 200 <= status < 300:  # noqa: PLR2004
            return await self._read_error(response)
        if sum(len(name) + len(value) for name, value in response.headers) > MAX_HEADER_BYTES:
            self._fail_headers()
        encoding = _header(response, b"content-encoding").lower()
        if encoding not in {"", "identity"}:
            # Not even looked at: 300 KB of gzip can be 300 MB of zeros.
            message = f"The {self.who} sent a compressed answer, although only identity is accepted."
            self._fail(Reach.ANSWERED, "answer_compressed", message)
        received = bytearray()
        await _receive(response, self.answer_bytes, received)
        if len(received) > self.answer_bytes:
            message = f"The {self.who} sent more than {self.answer_bytes} bytes."
            self._fail(Reach.ANSWERED, "answer_too_large", message, received=bytes(received))
        return Answer(status, bytes(received))

    async def _read_error(self, response: httpcore.Response) -> Answer:
        """A status other than 2xx decides by itself, whatever becomes of its body."""
        received = bytearray()
        with suppress(httpcore.NetworkError, httpcore.ProtocolError, TimeoutError):
            async with asyncio.timeout(_ERROR_BODY_SECONDS):
                if not _header(response, b"content-encoding"):
                    await _receive(response, MAX_ERROR_BYTES, received)
        return Answer(response.status, bytes(received), _retry_after(_header(response, b"retry-after")))

    # ----------------------------------------------------------------------------------------------- failures

    def _fail(self, reach: Reach, code: str, message: str, *, received: bytes = b"") -> NoReturn:
        raise CallError(reach, code, message, http_status=self.http_status, received=received) from None

    def _unconnected(self) -> CallError:
        return CallError(Reach.NOT_SENT, "connect_failed", f"The {self.who} could not be connected to.")

    def _fail_headers(self) -> NoReturn:
        message = f"The {self.who} sent more than {MAX_HEADER_BYTES} bytes of headers."
        self._fail(Reach.ANSWERED, "headers_too_large", message)


def _header(response: httpcore.Response, name: bytes) -> str:
    """All values of a header (its name in lower case), or an empty text."""
    return b", ".join(value for each, value in response.headers if each.lower() == name).decode("latin-1").strip()


async def _receive(response: httpcore.Response, limit: int, into: bytearray) -> None:
    """Read the body as it was sent; more than `limit` bytes mean that there were more."""
    async for chunk in response.aiter_stream():
        into += chunk
        if len(into) > limit:
            break


def _retry_after(value: str) -> float | None:
    """Read Retry-After, in seconds or as a date; at most a day."""
    if re.fullmatch(r"[0-9]{1,9}", value):
        seconds = float(value)
    else:
        try:
            at = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_SECONDS)
