"""What happens to every request before a route sees it.

One pass instead of a middleware for each rule: the headers are read once, the rules are asked one after the other, and
one `send` adds what every answer has. Plain ASGI: nothing here buffers, or breaks streams.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse

from app.auth import SESSION_COOKIE
from resolvers.errors import UnauthenticatedError
from schema.errors import INTERNAL
from schema.http import Head
from services.trace import begun, current_trace_id, makes_spans, opened, received

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

    from starlette.middleware.cors import CORSMiddleware
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from app.auth import Authentication
    from services.metrics import Metrics
    from services.trace import Caller

# Asked by machines that know neither our names nor our tokens, and told nothing that matters; or, by the one that has
# the metrics' token, what it asks for.
METRICS = "/metrics"
PROBES = frozenset({"/healthz", "/readyz", METRICS})
GRAPHQL = "/graphql"
# GraphQL finds out by itself who is asking: over a WebSocket that is said later. And whoever holds a token that has
# expired must be able to get rid of it.
NOT_IDENTIFIED = PROBES | {GRAPHQL, "/login", "/login/people", "/logout"}
# What programs ask. Everything else is the pages and their parts, which are the same for everybody. Nobody's session
# decides whether they are served: a page has to be there to sign in again after it has expired.
API = "/api/"
PAGES = ("/", "/login", "/jobs", "/jobs/{id}", "/admin/jobs", "/admin/jobs/{id}", "/admin/agents")
ASSETS = "/assets/"
# What sets a cookie is refused to foreign pages whether they bring one or not.
SETS_COOKIES = frozenset({"/login", "/logout"})

_TRACEPARENT = re.compile(r"(?!ff)[\da-f]{2}-(?!0{32})([\da-f]{32})-(?!0{16})([\da-f]{16})-([\da-f]{2})(-.*)?")
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

SECURITY_HEADERS: Mapping[str, str] = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    # The pages and all that they load are our own; a page that needs more says so itself.
    "content-security-policy": "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'",
    # Answers differ by who asks, and hold what others may not see.
    "cache-control": "no-store",
}
_SECURITY_HEADERS = {name.encode(): value.encode() for name, value in SECURITY_HEADERS.items()}
_STARTS = frozenset({"http.response.start", "websocket.http.response.start"})
# As numbers: looking up a member of an enum takes a function of Python's.
_BROKEN, _REFUSED, _TOO_LARGE = (
    int(status)
    for status in (HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.UNAUTHORIZED, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
)
_NO_COOKIE = f"{SESSION_COOKIE}=; Max-Age=0; Path=/".encode()
# Answers that end when somebody leaves: how long that takes says nothing of the service.
STREAMS = (b"text/event-stream", b"application/x-ndjson")


def problem(status: HTTPStatus, code: str, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Answer in the form that GraphQL gives to errors, which every route shares."""
    body = {"errors": [{"message": message, "extensions": {"code": code}}]}
    return JSONResponse(body, status, dict(headers or {}))


def unauthenticated(message: str) -> JSONResponse:
    """Answer somebody whose token cannot be believed, or who has none where one is needed."""
    return problem(HTTPStatus.UNAUTHORIZED, "UNAUTHENTICATED", message, {"www-authenticate": "Bearer"})


async def deny(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer instead of the application; a WebSocket is answered before it becomes one."""
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close"})  # servers answer 403
        return
    await response(scope, receive, send)


# A client that is still sending when its connection is closed gets a reset, and never sees why: what is on its way is
# taken first, within reason.
TAKEN_BODIES = 16
TAKEN_SECONDS = 5.0


def too_large(largest_bytes: int) -> JSONResponse:
    """Answer a request whose body is too large."""
    message = f"A request has at most {largest_bytes} bytes."
    return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "REQUEST_TOO_LARGE", message, {"connection": "close"})


class BodyTooLargeError(HTTPException):
    """A body has turned out to be larger than it may be."""

    def __init__(self) -> None:
        super().__init__(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


def is_same_host(origin: str, host: str) -> bool:
    """Whether an Origin names the host and port of a Host header. The scheme is a proxy's business."""
    try:
        page = urlsplit(origin.lower())
        port = page.port or _DEFAULT_PORTS.get(page.scheme)
        called = urlsplit(f"{page.scheme}://{host.lower()}")
        return page.hostname is not None and (page.hostname, port) == (
            called.hostname,
            called.port or _DEFAULT_PORTS.get(page.scheme),
        )
    except ValueError:
        return False


_LARGEST_HOST = 300


@lru_cache(1_000)
def _is_named(given: bytes, names: Collection[str]) -> bool:
    """Whether a Host header names one of these hosts; `*.example.org` names all below it."""
    host = given.decode("latin-1")
    try:
        found = urlsplit(f"//{host}")
        name = found.hostname or ""
        if found.netloc != host or found.username is not None or (found.port or 0) < 0:
            return False
    except ValueError:
        return False
    return any(name == known or (known.startswith("*.") and name.endswith(known[1:])) for known in names)


# ------------------------------------------------------------------------------------------------------- one passage


class _Passage:
    """One connection on its way in, and what is sent back."""

    __slots__ = (
        "_counted",
        "_send",
        "cors",
        "head",
        "is_http",
        "is_measured",
        "largest_bytes",
        "path",
        "raw_receive",
        "scope",
        "started",
        "status",
        "streams",
        "takes_cookie_back",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, rules: Rules) -> None:
        self.scope = scope
        scope["viewer"] = None
        self.path: str = scope["path"]
        self.is_http = scope["type"] == "http"
        self.head = Head.of(scope)
        self.largest_bytes = rules.largest_bytes
        self.cors = rules.cors if self.is_http else None
        self.takes_cookie_back = False
        self.started = False
        self.status, self.streams = _BROKEN, False
        self.raw_receive, self._send = receive, send
        # Whether the head says how long the body is: servers let no more pass than that.
        self.is_measured = False
        self._counted = 0

    async def receive(self) -> Message:
        """Receive what the client sends next. Raises BodyTooLargeError."""
        message = await self.raw_receive()
        if message["type"] == "http.request":
            self._counted += len(message.get("body", b""))
            if self._counted > self.largest_bytes:
                raise BodyTooLargeError
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Send, with the headers that every answer has."""
        if message["type"] in _STARTS:
            self.started, self.status = True, message["status"]
            message["headers"] = self._completed(message.get("headers", ()))
            if self.status == _TOO_LARGE and self.is_http and b"expect" not in self.head.headers:
                # Who asks first whether to send has sent nothing; whoever does not, is sending.
                return self._send_once_taken(message)
        return self._send(message)

    async def _send_once_taken(self, message: Message) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(TAKEN_SECONDS):
                await self._take()
        await self._send(message)

    def _completed(self, given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        headers = list(given)
        own = dict(headers)
        if b"content-length" not in own:
            self.streams = own.get(b"content-type", b"").startswith(STREAMS)
        # What takes the place of the answer's own; the answer's own takes that of the security headers.
        added = {b"x-trace-id": (current_trace_id.get() or "").encode()}
        if self.cors is not None:
            varies = own.get(b"vary")
            added[b"vary"] = b"Origin" if varies is None else varies + b", Origin"
            if b"origin" in self.head.headers:
                added |= self._for_origin(self.cors)
        if len(own) == len(headers):
            completed = list({**_SECURITY_HEADERS, **own, **added}.items())
        else:
            completed = _with_repeated(headers, own, added)
        if self.takes_cookie_back and self.status == _REFUSED:
            completed.append((b"set-cookie", _NO_COOKIE))
        return completed

    def _for_origin(self, cors: CORSMiddleware) -> dict[bytes, bytes]:
        origin = self.head.header(b"origin") or ""
        headers = {name.lower().encode(): value.encode() for name, value in cors.simple_headers.items()}
        if cors.is_allowed_origin(origin):
            headers[b"access-control-allow-origin"] = origin.encode("latin-1")
        return headers

    async def _take(self) -> None:
        left = TAKEN_BODIES * self.largest_bytes
        while left > 0:
            message = await self.raw_receive()
            if message["type"] != "http.request" or not message.get("more_body", False):
                return
            left -= len(message.get("body", b""))


def _with_repeated(
    headers: list[tuple[bytes, bytes]], own: Mapping[bytes, bytes], added: dict[bytes, bytes]
) -> list[tuple[bytes, bytes]]:
    """The headers of an answer that has some of them several times, as it may set several cookies."""
    varies = [value for name, value in headers if name == b"vary"]
    if b"vary" in added and varies:
        added[b"vary"] = b", ".join([*varies, b"Origin"])
    return [
        *(item for item in _SECURITY_HEADERS.items() if item[0] not in own),
        *(item for item in headers if item[0] not in added),
        *added.items(),
    ]


async def nobody(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve nothing: other people's middlewares are asked what they think of a request, and not passed through."""


@dataclass(frozen=True)
class Rules:
    """What is asked of every request; by default, nothing."""

    trusted_hosts: frozenset[str] = frozenset({"*"})
    allowed_origins: Collection[str] = ()
    cors: CORSMiddleware | None = None
    """Which foreign pages may call. Only asked: what Starlette does around an application is done here."""
    forwarded: ASGIApp = nobody
    """Writes into the scope what may be believed of what a proxy says. Only asked, too."""
    largest_bytes: int = sys.maxsize
    authentication: Authentication | None = None

    @cached_property
    def checks_hosts(self) -> bool:
        """Whether the Host header has to name one of ours."""
        return "*" not in self.trusted_hosts


@dataclass(frozen=True)
class Door:
    """What every request passes: it is named, traced, held to the rules, and counted when it is answered.

    `straight` are applications by method and path: what is asked most is not looked for among the routes. A WebSocket
    has no method: "".
    """

    app: ASGIApp
    rules: Rules = field(default_factory=Rules)
    straight: Mapping[tuple[str, str], ASGIApp] = field(default_factory=dict[tuple[str, str], "ASGIApp"])
    metrics: Callable[[], Metrics | None] = lambda: None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        passage = _Passage(scope, receive, send, self.rules)
        headers = passage.head.headers
        if b"x-forwarded-proto" in headers or b"x-forwarded-for" in headers:
            await self.rules.forwarded(scope, receive, send)
        given = headers.get(b"traceparent")
        caller = None if given is None else _caller(given)
        if not passage.is_http:
            opened(caller)
            await self._pass(passage)
        elif makes_spans() and passage.path not in PROBES:
            # The id is never reset: the server's own error handling, outside of this, should know it as well.
            with received(f"HTTP {scope['method']}", caller):
                await self._pass(passage)
        else:
            begun(caller)
            await self._pass(passage)

    async def _pass(self, passage: _Passage) -> None:
        started = time.monotonic()
        app = self.app
        try:
            refusal = self._refusal(passage)
            if refusal is None and passage.path not in NOT_IDENTIFIED:
                refusal = await self._unknown(passage)
            if refusal is None:
                app = self.straight.get((passage.head.method, passage.path), app)
                receive = passage.raw_receive if passage.is_measured else passage.receive
                await app(passage.scope, receive, passage.send)
            else:
                await deny(refusal, passage.scope, passage.receive, passage.send)
        except BodyTooLargeError:
            if passage.started:
                raise
            await too_large(passage.largest_bytes)(passage.scope, passage.receive, passage.send)
        except Exception:
            # A bug: the server logs it, with the trace id that the answer has too.
            if passage.is_http and not passage.started:
                answer = problem(HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL, "Internal error")
                await answer(passage.scope, passage.receive, passage.send)
            raise
        finally:
            if passage.is_http and not passage.streams and (metrics := self.metrics()) is not None:
                metrics.answered(route_of(passage.path), passage.status, time.monotonic() - started)

    # ------------------------------------------------------------------------------------------ the rules, in order

    def _refusal(self, passage: _Passage) -> Response | None:
        """Why the request is not served, whoever it is that asks; or None."""
        rules, headers = self.rules, passage.head.headers
        if rules.checks_hosts and passage.path not in PROBES:
            host = headers.get(b"host")
            if host is None or len(host) > _LARGEST_HOST or not _is_named(host, rules.trusted_hosts):
                return PlainTextResponse("Invalid host header", HTTPStatus.BAD_REQUEST)
        if b"origin" in headers and rules.cors is not None and _is_preflight(passage):
            passage.cors = None
            return rules.cors.preflight_response(Headers(scope=passage.scope))
        length = headers.get(b"content-length", b"") if passage.is_http else b""
        if length.isdigit():
            if len(length) > 15 or int(length) > rules.largest_bytes:  # noqa: PLR2004
                return too_large(rules.largest_bytes)
            passage.is_measured = b"transfer-encoding" not in headers
        if b"origin" in headers and self._is_foreign(passage):
            message = "This page's origin may not call the service: see SIGNOFF_ALLOWED_ORIGINS."
            return problem(HTTPStatus.FORBIDDEN, "FOREIGN_ORIGIN", message)
        # A cookie that is answered with 401 is taken back: a page could not, and would be refused for ever.
        passage.takes_cookie_back = (
            b"cookie" in headers
            and rules.authentication is not None
            and passage.path not in SETS_COOKIES
            and _uses_cookie(passage)
        )
        return None

    def _is_foreign(self, passage: _Passage) -> bool:
        """Whether a foreign page sends this with a person's cookie, or opens a WebSocket.

        A browser says where a page comes from, and sends cookies along whether the person wants it or not. A request
        with an Authorization header was meant: no page can add one without being allowed to (CORS).
        """
        origin = passage.head.header(b"origin") or ""
        if origin.lower() in self.rules.allowed_origins:
            return False
        if passage.is_http and passage.path not in SETS_COOKIES and not _uses_cookie(passage):
            return False
        return not is_same_host(origin, passage.head.header(b"host") or "")

    async def _unknown(self, passage: _Passage) -> Response | None:
        """Find out who is asking, in `scope["viewer"]`: None where nobody says so; 401 where it cannot be believed."""
        authentication, head = self.rules.authentication, passage.head
        if authentication is None:
            return None
        cookies: Mapping[str, str] = head.cookies if passage.path.startswith(API) else {}
        try:
            passage.scope["viewer"] = await authentication.authenticate(head.header(b"authorization"), cookies)
        except UnauthenticatedError as error:
            return unauthenticated(error.message)
        return None


def _caller(given: bytes) -> Caller | None:
    """The trace id, span id and flags of a valid `traceparent`."""
    found = _TRACEPARENT.fullmatch(given.decode("latin-1").strip())
    return None if found is None else (found[1], found[2], found[3])


def _is_preflight(passage: _Passage) -> bool:
    """Whether a browser asks, before it lets a foreign page call, what that page may do."""
    is_asked = b"access-control-request-method" in passage.head.headers
    return is_asked and passage.is_http and passage.head.method == "OPTIONS"


def _uses_cookie(passage: _Passage) -> bool:
    """Whether it is the cookie that says who is asking: the header counts before it."""
    return b"authorization" not in passage.head.headers and SESSION_COOKIE in passage.head.cookies


# What a path is counted as: no path of a client's making becomes a label.
_ROUTES = (GRAPHQL, API, "/healthz", "/readyz", METRICS, "/login", "/logout", ASSETS)
_WHOLE_ROUTES = frozenset(_ROUTES)


def route_of(path: str) -> str:
    """What a path is counted as."""
    if path in _WHOLE_ROUTES:
        return path.rstrip("/")
    return next((route.rstrip("/") for route in _ROUTES if path.startswith(route)), "pages")
