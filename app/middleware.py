"""What happens to every request before a route sees it. Plain ASGI: nothing here buffers, or breaks streams."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse

from app.auth import SESSION_COOKIE
from resolvers.errors import UnauthenticatedError
from services.trace import current_trace_id, new_trace_id, received

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from app.auth import Authentication

# Asked by machines that know neither our names nor our tokens, and told nothing that matters; or, by the one that has
# the metrics' token, what it asks for.
METRICS = "/metrics"
PROBES = frozenset({"/healthz", "/readyz", METRICS})
GRAPHQL = "/graphql"
# GraphQL finds out by itself who is asking: over a WebSocket that is said later. And whoever holds a token that has
# expired must be able to get rid of it.
NOT_IDENTIFIED = PROBES | {GRAPHQL, "/login", "/login/people", "/logout"}
# The pages and their parts, which are the same for everybody. Nobody's session decides whether they are served: a page
# has to be there to sign in again after it has expired.
PAGES = ("/", "/login", "/jobs", "/jobs/{id}", "/admin/jobs", "/admin/jobs/{id}", "/admin/agents")
ASSETS = "/assets/"
_PAGE = re.compile(re.escape(ASSETS) + "[^/]*|" + "|".join(re.sub("{id}", "[^/]+", path) for path in PAGES))
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


def problem(status: HTTPStatus, code: str, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Answer in the form that GraphQL gives to errors, which every route shares."""
    body = {"errors": [{"message": message, "extensions": {"code": code}}]}
    return JSONResponse(body, status, dict(headers or {}))


def unauthenticated(message: str) -> JSONResponse:
    """Answer somebody whose token cannot be believed, or who has none where one is needed."""
    return problem(HTTPStatus.UNAUTHORIZED, "UNAUTHENTICATED", message, {"www-authenticate": "Bearer"})


async def deny(response: JSONResponse, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer instead of the application; a WebSocket is answered before it becomes one."""
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close"})  # servers answer 403
        return
    await response(scope, receive, send)


@dataclass(frozen=True)
class Trace:
    """Gives every request a trace id: the caller's, where it sends a valid `traceparent`."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        found = _TRACEPARENT.fullmatch(Headers(scope=scope).get("traceparent", "").strip())
        if scope["type"] == "http" and scope["path"] not in PROBES:
            # The id is never reset: the server's own error handling, outside of this, should know it as well.
            with received(f"HTTP {scope['method']}", (found[1], found[2], found[3]) if found else None):
                await self.app(scope, receive, send)
            return
        current_trace_id.set(found[1] if found else new_trace_id())
        await self.app(scope, receive, send)


@dataclass(frozen=True)
class SecureHeaders:
    """Adds the headers of `SECURITY_HEADERS` that a response does not set itself, and the trace id."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] in {"http.response.start", "websocket.http.response.start"}:
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers["x-trace-id"] = current_trace_id.get() or ""
            await send(message)

        await self.app(scope, receive, send_with_headers)


class TrustedHosts(TrustedHostMiddleware):
    """Refuses requests that call the service by a foreign name; probes call it by any."""

    def __init__(self, app: ASGIApp, allowed_hosts: Collection[str]) -> None:
        super().__init__(app, list(allowed_hosts), www_redirect=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope.get("path") in PROBES:
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


# A client that is still sending when its connection is closed gets a reset, and never sees why: what is on its way is
# taken first, within reason.
TAKEN_BODIES = 16
TAKEN_SECONDS = 5.0


@dataclass(frozen=True)
class BodyCap:
    """Refuses a body that says itself that it is too large; Starlette's limit, further in, counts the others."""

    app: ASGIApp
    largest_bytes: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            if "expect" not in headers:  # who asks first whether to send has sent nothing
                send = self._after_the_body(receive, send)
            length = headers.get("content-length", "")
            if length.isdecimal() and (len(length) > 15 or int(length) > self.largest_bytes):  # noqa: PLR2004
                await too_large(self.largest_bytes)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _after_the_body(self, receive: Receive, send: Send) -> Send:
        async def send_after_the_body(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                with suppress(TimeoutError):
                    async with asyncio.timeout(TAKEN_SECONDS):
                        await self._take(receive)
            await send(message)

        return send_after_the_body

    async def _take(self, receive: Receive) -> None:
        left = TAKEN_BODIES * self.largest_bytes
        while left > 0:
            message = await receive()
            if message["type"] != "http.request" or not message.get("more_body", False):
                return
            left -= len(message.get("body", b""))


def too_large(largest_bytes: int) -> JSONResponse:
    """Answer a request whose body is too large."""
    message = f"A request has at most {largest_bytes} bytes."
    return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "REQUEST_TOO_LARGE", message, {"connection": "close"})


@dataclass(frozen=True)
class SameOrigin:
    """Refuses what a foreign page sends with a person's cookie, and every WebSocket of a foreign page.

    A browser says where a page comes from, and sends cookies along whether the person wants it or not. A request
    with an Authorization header was meant: no page can add one without being allowed to (CORS).
    """

    app: ASGIApp
    allowed_origins: Collection[str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] in {"http", "websocket"} and self._is_foreign(scope):
            message = "This page's origin may not call the service: see SIGNOFF_ALLOWED_ORIGINS."
            await deny(problem(HTTPStatus.FORBIDDEN, "FOREIGN_ORIGIN", message), scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _is_foreign(self, scope: Scope) -> bool:
        connection = HTTPConnection(scope)
        origin = connection.headers.get("origin")
        if origin is None or origin.lower() in self.allowed_origins:
            return False
        if scope["type"] == "http" and scope["path"] not in SETS_COOKIES and not uses_cookie(connection):
            return False
        return not is_same_host(origin, connection.headers.get("host", ""))


def uses_cookie(connection: HTTPConnection) -> bool:
    """Whether it is the cookie that says who is asking: the header counts before it."""
    return SESSION_COOKIE in connection.cookies and "authorization" not in connection.headers


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


@dataclass(frozen=True)
class Identify:
    """Says who is asking, in `scope["viewer"]`: None where nobody says so; 401 where it cannot be believed.

    A cookie that is answered with 401 is taken back: a page could not, and would be refused for ever.
    """

    app: ASGIApp
    authentication: Authentication

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] in {"http", "websocket"}:
            scope["viewer"] = None
            connection = HTTPConnection(scope)
            if uses_cookie(connection) and scope["path"] not in SETS_COOKIES:
                send = _taking_back(send)
            if scope["path"] not in NOT_IDENTIFIED:
                try:
                    scope["viewer"] = await self.authentication.authenticate(
                        connection.headers.get("authorization"),
                        {} if _PAGE.fullmatch(scope["path"]) else connection.cookies,
                    )
                except UnauthenticatedError as error:
                    await deny(unauthenticated(error.message), scope, receive, send)
                    return
        await self.app(scope, receive, send)


def _taking_back(send: Send) -> Send:
    async def taking_back(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == HTTPStatus.UNAUTHORIZED:
            MutableHeaders(scope=message).append("set-cookie", f"{SESSION_COOKIE}=; Max-Age=0; Path=/")
        await send(message)

    return taking_back
