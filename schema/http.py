"""GraphQL over HTTP, as its specification has it: reading requests, choosing a media type, writing responses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from functools import lru_cache
from typing import Any, Self

from graphql import GraphQLError
from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.types import Receive, Scope, Send
from strawberry.types.execution import ExecutionResult

from schema.errors import BAD_REQUEST, INTERNAL
from schema.scalars import written
from services.strict_json import InvalidJsonError, parse

JSON = "application/json"
GRAPHQL_JSON = "application/graphql-response+json"
EVENTS = "text/event-stream"

OPTIONAL_OBJECT = (dict, type(None))
OPTIONAL_TEXT = (str, type(None))


class RefusedError(Exception):
    """The HTTP request is not one that can be executed."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


# ------------------------------------------------------------------------------------------------------- requests


@dataclass(slots=True)
class Asked:
    """The parameters of a GraphQL request."""

    query: str
    operation_name: str | None
    variables: dict[str, Any] | None
    extensions: dict[str, Any] | None


_HEAD = "signoff.head"


class Head:
    """What comes before a request's body, or a WebSocket: read once, see `of`."""

    __slots__ = ("_raw", "accept", "headers", "method", "query")

    def __init__(self, scope: Scope) -> None:
        self.method: str = scope.get("method", "")
        self.query: bytes = scope.get("query_string", b"")
        self._raw: list[tuple[bytes, bytes]] = scope["headers"]
        # Of a header that comes several times, the first counts; Accept may be in several parts.
        self.headers = dict(reversed(self._raw))
        accept = self.headers.get(b"accept")
        if accept is None:
            self.accept: tuple[bytes, ...] = ()
        elif len(self.headers) == len(self._raw):
            self.accept = (accept,)
        else:
            self.accept = tuple([value for name, value in self._raw if name == b"accept"])

    @classmethod
    def of(cls, scope: Scope) -> Self:
        """The head of a connection, which has it from then on."""
        head: Self | None = scope.get(_HEAD)
        if head is None:
            head = scope[_HEAD] = cls(scope)
        return head

    def header(self, name: bytes) -> str | None:
        """A header's text."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def cookies(self) -> Mapping[str, str]:
        """The cookies, by their names."""
        if b"cookie" not in self.headers:
            return {}
        # Not of the scope itself: it has this, and would be garbage that only a search for cycles finds.
        cookies: Mapping[str, str] = HTTPConnection({"type": "http", "headers": self._raw}).cookies
        return cookies


async def asked(head: Head, receive: Receive) -> Asked:
    """Read the parameters. Raises RefusedError, ClientDisconnect."""
    given: Any
    if head.method == "GET":
        given = dict(QueryParams(head.query))
        for name in ("variables", "extensions"):
            text = given.pop(name, "")
            if text:
                given[name] = _parsed(text, name)
    else:
        if not _is_json(head.headers.get(b"content-type", b"")):
            raise RefusedError(415, f"The body must be `Content-Type: {JSON}`, in UTF-8.")
        if head.headers.get(b"content-encoding", b"identity") != b"identity":
            raise RefusedError(415, "The body must not be compressed.")
        given = _parsed(await _body(receive), "The body")
    if given.__class__ is not dict:
        batched = " Batches are not answered: send one operation." if isinstance(given, list) else ""
        raise RefusedError(400, f"The body must be a JSON object.{batched}")
    query, operation_name = given.get("query"), given.get("operationName")
    variables, extensions = given.get("variables"), given.get("extensions")
    if query.__class__ is not str or not query:
        raise RefusedError(400, "`query` must be a string: the GraphQL document.")
    if operation_name.__class__ not in OPTIONAL_TEXT:
        raise RefusedError(400, "`operationName` must be a string or null.")
    if variables.__class__ not in OPTIONAL_OBJECT:
        raise RefusedError(400, "`variables` must be an object or null.")
    if extensions.__class__ not in OPTIONAL_OBJECT:
        raise RefusedError(400, "`extensions` must be an object or null.")
    return Asked(query, operation_name or None, variables, extensions)


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    is_whole = False
    while not is_whole:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        is_whole = not message.get("more_body", False)
        if is_whole and not parts:
            return part
        parts.append(part)
    return b"".join(parts)


def _parsed(text: str | bytes, what: str) -> Any:
    try:
        return parse(text)
    except InvalidJsonError as error:
        raise RefusedError(400, f"{what}: {error}") from None


@lru_cache(100)
def _is_json(content_type: bytes) -> bool:
    header = Message()
    header["content-type"] = content_type.decode("latin-1")
    charset = header.get_param("charset", "utf-8")
    return header.get_content_type() == JSON and str(charset).lower() in {"utf-8", "utf8"}


# ---------------------------------------------------------------------------------------------------- media types


def media_type_for(head: Head, *, of_subscription: bool = False) -> str | None:
    """The media type to answer with, by the client's preference; None where there is none that it takes.

    A client that says nothing, or takes anything, is answered with application/json. Equally welcome, the newer
    type wins over the older, and JSON over events: clients that can follow events list them with every request.
    """
    return _preferred(head.accept, of_subscription)


@lru_cache(100)
def _preferred(headers: tuple[bytes, ...], of_subscription: bool) -> str | None:  # noqa: FBT001  (keys of a cache)
    welcome = dict(accepted(item.decode("latin-1") for item in headers)) or {"*/*": 1.0}
    if of_subscription:
        return EVENTS if welcome.get(EVENTS, 0.0) > 0 else None

    def quality(*ranges: str) -> float:
        return next((welcome[range_] for range_ in ranges if range_ in welcome), 0.0)

    ranked = (
        (quality(GRAPHQL_JSON, "application/*", "*/*"), 2 if GRAPHQL_JSON in welcome else 0, GRAPHQL_JSON),
        (quality(JSON, "application/*", "*/*"), 1, JSON),
        # Events are for those who name them: anybody else would take the stream for an answer that never ends.
        (quality(EVENTS), -1, EVENTS),
    )
    best, _, media_type = max(ranked)
    return media_type if best > 0 else None


def accepted(headers: Iterable[str]) -> Iterator[tuple[str, float]]:
    """What an Accept or Accept-Encoding header lists, and how welcome each of it is."""
    for item in ",".join(headers).split(","):
        range_, *parameters = (part.strip().lower() for part in item.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        if range_:
            yield range_, quality


# ------------------------------------------------------------------------------------------------------ responses


def response_to(result: ExecutionResult, media_type: str) -> JsonResponse:
    """The response to an operation that was executed, or that could not be."""
    if not result.errors:
        return JsonResponse({"data": result.data}, 200, media_type)
    status = 200
    if not _was_executed(result):
        # The older media type says so with 200: its clients take anything else for a proxy's.
        internal = any((error.extensions or {}).get("code") == INTERNAL for error in result.errors)
        status = 500 if internal else 400 if media_type == GRAPHQL_JSON else 200
    return JsonResponse(body_of(result), status, media_type)


def body_of(result: ExecutionResult) -> dict[str, Any]:
    """A result as it is sent; without `data` where nothing was executed."""
    body: dict[str, Any] = {}
    if result.errors:
        body["errors"] = [error.formatted for error in result.errors]
    if _was_executed(result):
        body["data"] = result.data
    return body


def _was_executed(result: ExecutionResult) -> bool:
    """An error of a field has a path; one of the request has none."""
    errors = result.errors or []
    return result.data is not None or not errors or any(error.path is not None for error in errors)


def refusal_of(error: RefusedError, media_type: str | None) -> JsonResponse:
    """The response to a request that cannot be executed."""
    shown = GraphQLError(error.message, extensions={"code": BAD_REQUEST})
    return error_response(shown, error.status, media_type, error.headers)


def error_response(
    error: GraphQLError, status: int, media_type: str | None, headers: Mapping[str, str] | None = None
) -> JsonResponse:
    """A response that is one error."""
    return JsonResponse({"errors": [error.formatted]}, status, media_type, headers)


class JsonResponse:
    """A response in one of the two JSON media types; the older one where none is agreed on."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self, body: Mapping[str, Any], status: int, media_type: str | None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.body = written(body)
        self.status = status
        self.headers = [
            _GRAPHQL_JSON_TYPE if media_type == GRAPHQL_JSON else _JSON_TYPE,
            (b"content-length", b"%d" % len(self.body)),
            *_ALWAYS,
        ]
        if headers:
            self.headers += [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


_JSON_TYPE, _GRAPHQL_JSON_TYPE = ((b"content-type", f"{name}; charset=utf-8".encode()) for name in (JSON, GRAPHQL_JSON))
_ALWAYS = ((b"vary", b"Accept"), (b"cache-control", b"no-store"))
