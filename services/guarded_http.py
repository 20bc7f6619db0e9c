"""The one way out to addresses that others name: a POST and its bounded answer, over a connection that was checked.

Agents are called through it, and a validator that is asked over HTTP. A host is resolved once and the very address
that `Guard` allowed is connected to, under the host's own name (Host, SNI). Redirects and proxies are not followed,
compressed bodies not opened, sizes bounded, and a deadline lies around the whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import socket
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from functools import cache
from typing import TYPE_CHECKING, NoReturn, Protocol, cast

import httpx

from services.guard import EndpointNotAllowedError, Guard, endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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
    return httpx.create_ssl_context()


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


class _Stream(Protocol):
    """A connection, as httpcore hands it to its tracers."""

    async def aclose(self) -> None: ...


@dataclass
class _Progress:
    """How far a call has got, which decides what its failure means."""

    connection: _Stream | None = None
    in_tls: bool = False
    sending: bool = False
    """From here on the other side may have the request."""
    http_status: int | None = None

    async def trace(self, event: str, info: Mapping[str, object]) -> None:
        """Take note of httpcore's events."""
        match event:
            case "connection.connect_tcp.complete":
                self.connection = cast("_Stream", info["return_value"])
            case "connection.start_tls.started":
                self.in_tls = True
            case "http11.send_request_headers.started":
                self.sending = True
            case _:
                pass


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
    progress: _Progress = field(default_factory=_Progress)

    async def run(self) -> Answer:
        """Resolve, connect, send, read. Raises CallError."""
        to, addresses = await self._checked()
        for left, address in enumerate(addresses, 1 - len(addresses)):
            request = httpx.Request(
                "POST",
                to.url.copy_with(host=address),
                headers={
                    "host": to.url.netloc.decode("ascii"),
                    "content-type": "application/json",
                    "accept": "application/json",
                    "accept-encoding": "identity",
                    "connection": "close",
                    "user-agent": "signoff",
                    **self.headers,
                },
                content=self.body.encode(),
                extensions={
                    "sni_hostname": to.host,  # what the certificate must be for
                    "timeout": {"connect": CONNECT_SECONDS},
                    "trace": self.progress.trace,
                },
            )
            try:
                return await self._exchange(request)
            except httpx.TransportError as error:
                if left == 0 or self.progress.connection is not None:
                    self._fail_transport(error)
        raise AssertionError("a host has at least one address")

    def timed_out(self) -> CallError:
        """Say what it means that the time is up."""
        if not self.progress.sending:
            message = f"The {self.who} could not be connected to in time."
            return CallError(Reach.NOT_SENT, "connect_timeout", message)
        message = f"The {self.who} did not answer completely within {round(self.timeout_seconds, 2):g} s."
        return CallError(Reach.TIMED_OUT, "timeout", message, http_status=self.progress.http_status)

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

    async def _exchange(self, request: httpx.Request) -> Answer:
        transport = httpx.AsyncHTTPTransport(verify=self.tls, trust_env=False)
        try:
            response = await transport.handle_async_request(request)
            try:
                return await self._read(response)
            finally:
                await response.aclose()
        finally:
            await transport.aclose()
            if self.progress.connection is not None:
                # A handshake that is cancelled leaves its connection open.
                await self.progress.connection.aclose()

    async def _read(self, response: httpx.Response) -> Answer:
        status = self.progress.http_status = response.status_code
        if not response.is_success:
            return await self._read_error(response)
        if sum(len(name) + len(value) for name, value in response.headers.raw) > MAX_HEADER_BYTES:
            self._fail_headers()
        encoding = response.headers.get("content-encoding", "").strip().lower()
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

    async def _read_error(self, response: httpx.Response) -> Answer:
        """A status other than 2xx decides by itself, whatever becomes of its body."""
        received = bytearray()
        with contextlib.suppress(httpx.TransportError, TimeoutError):
            async with asyncio.timeout(_ERROR_BODY_SECONDS):
                if not response.headers.get("content-encoding"):
                    await _receive(response, MAX_ERROR_BYTES, received)
        return Answer(response.status_code, bytes(received), _retry_after(response.headers.get("retry-after")))

    # ----------------------------------------------------------------------------------------------- failures

    def _fail(self, reach: Reach, code: str, message: str, *, received: bytes = b"") -> NoReturn:
        raise CallError(reach, code, message, http_status=self.progress.http_status, received=received) from None

    def _fail_headers(self) -> NoReturn:
        message = f"The {self.who} sent more than {MAX_HEADER_BYTES} bytes of headers."
        self._fail(Reach.ANSWERED, "headers_too_large", message)

    def _fail_transport(self, error: httpx.TransportError) -> NoReturn:
        """Word what broke below HTTP, by how far the call had got."""
        causes = list(_causes(error))
        if self.progress.sending:
            # h11 hints at 431 (Request Header Fields Too Large) where its own bound on headers was reached.
            if any(getattr(cause, "error_status_hint", None) == 431 for cause in causes):  # noqa: PLR2004
                self._fail_headers()
            message = f"The {self.who} was sent the request, but the connection broke before a complete answer came."
            self._fail(Reach.CUT, "connection_broken", message)
        if isinstance(error, httpx.TimeoutException):
            raise self.timed_out() from None
        if self.progress.in_tls:
            reason = next(
                (cause.verify_message for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)),
                "",
            )
            why = f" ({reason})" if reason else ""
            self._fail(Reach.NOT_SENT, "tls_failed", f"The {self.who} and TLS: no secure connection{why}.")
        if any(isinstance(cause, OSError) and cause.errno == errno.ECONNREFUSED for cause in causes):
            self._fail(Reach.NOT_SENT, "connection_refused", f"The {self.who} refused the connection.")
        self._fail(Reach.NOT_SENT, "connect_failed", f"The {self.who} could not be connected to.")


async def _receive(response: httpx.Response, limit: int, into: bytearray) -> None:
    """Read the body as it was sent; more than `limit` bytes mean that there were more."""
    async for chunk in response.aiter_raw():
        into += chunk
        if len(into) > limit:
            break


def _retry_after(value: str | None) -> float | None:
    """Read Retry-After, in seconds or as a date; at most a day."""
    if value is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}", value.strip()):
        seconds = float(value)
    else:
        try:
            at = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_SECONDS)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """List an exception and what led to it, groups opened."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += cast("BaseExceptionGroup[BaseException]", one).exceptions
