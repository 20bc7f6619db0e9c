"""GraphQL on one path: over HTTP, over SSE and over WebSocket (graphql-transport-ws)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeAlias, cast

import orjson
from graphql import GraphQLError, OperationType
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from strawberry.asgi import ASGIWebSocketAdapter, GraphQL
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.http.streaming import SSETransport, merge_stream_with_heartbeat
from strawberry.schema.exceptions import CannotGetOperationTypeError
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler
from strawberry.types.execution import ExecutionResult
from strawberry.types.graphql import OperationType as Allowed
from strawberry.types.unset import UNSET, UnsetType

from resolvers.context import Context, Services
from resolvers.errors import UnauthenticatedError
from schema.build import Schema
from schema.documents import Operation
from schema.errors import SLOW_CONSUMER
from schema.http import (
    EVENTS,
    GRAPHQL_JSON,
    JSON,
    OPTIONAL_OBJECT,
    OPTIONAL_TEXT,
    Asked,
    Head,
    RefusedError,
    asked,
    body_of,
    error_response,
    media_type_for,
    refusal_of,
    response_to,
)
from schema.scalars import written
from schema.sharing import Answer, Told
from services.strict_json import InvalidJsonError, parse
from services.trace import makes_spans, operation_span
from services.viewer import Viewer

Authenticate: TypeAlias = Callable[[str | None, Mapping[str, str]], Awaitable[Viewer | None]]
"""`Authorization` header (or what came under that key in connection_init) and cookies → who is asking, or None where
neither says anything. Raises resolvers.errors.UnauthenticatedError for a token that is broken or expired."""

SendNow: TypeAlias = Callable[[str], bool]

TOO_MANY_OPERATIONS = "TOO_MANY_OPERATIONS"
# What one response answers.
_ANSWERED = (Allowed.QUERY, Allowed.MUTATION)
# A close frame's 125 bytes, less the two of its code.
_REASON_BYTES = 123


# ------------------------------------------------------------------------------------------------------ WebSocket


@dataclass
class _Connection(Context):
    """What a WebSocket's operations have in common; the viewer is known once connection_init has come."""

    authorization: str | None = None
    cookies: Mapping[str, str] = field(default_factory=dict[str, str])
    connection_params: Mapping[str, object] = field(default_factory=dict[str, object])


SEND_NOW = "signoff.send_now"
"""Where a WebSocket's scope may have what sends a text at once and returns True, or returns False and does nothing,
where that would have to wait or cannot be."""


class _WebSocketAdapter(ASGIWebSocketAdapter):
    @property
    def send_now(self) -> SendNow | None:
        """What sends a text at once, see SEND_NOW."""
        return cast("SendNow | None", self.ws.scope.get(SEND_NOW))

    async def send_json(self, message: Mapping[str, object]) -> None:
        """Send a message. Raises WebSocketDisconnected, also where the server has closed by itself meanwhile."""
        await self.send_text(cast("GraphQLEndpoint", self.view).encode_json(message))

    async def send_text(self, text: str) -> None:
        """Send a message that is written already. Raises WebSocketDisconnected, as above."""
        send_now = self.send_now
        if send_now is not None and send_now(text):
            return
        try:
            await self.ws.send_text(text)
        except (WebSocketDisconnect, RuntimeError):
            raise WebSocketDisconnected from None

    async def close(self, code: int, reason: str) -> None:
        """Close with a reason that fits its frame, whatever of the client's is quoted in it."""
        with suppress(RuntimeError, WebSocketDisconnect):  # closed already, or gone
            await super().close(code, reason.encode()[:_REASON_BYTES].decode(errors="ignore"))


# What a client's messages must have: type → members of the message, members of its payload.
_FRAMES: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "connection_init": ({"payload": OPTIONAL_OBJECT}, {}),
    "ping": ({"payload": OPTIONAL_OBJECT}, {}),
    "pong": ({"payload": OPTIONAL_OBJECT}, {}),
    "complete": ({"id": str}, {}),
    "subscribe": (
        {"id": str, "payload": dict},
        {
            "query": str,
            "variables": OPTIONAL_OBJECT,
            "operationName": OPTIONAL_TEXT,
            "extensions": OPTIONAL_OBJECT,
        },
    ),
}


def _frame_problem(message: Mapping[str, Any]) -> str | None:
    kind = message.get("type")
    if not isinstance(kind, str) or kind not in _FRAMES:
        return "Unknown message type"
    members, inner_members = _FRAMES[kind]
    for name, types in members.items():
        if not isinstance(message.get(name), types):
            return f"{kind}: {name} is missing or malformed"
    inner: Mapping[str, Any] = message.get("payload") or {}
    for name, types in inner_members.items():
        if not isinstance(inner.get(name), types):
            return f"{kind}: payload.{name} is missing or malformed"
    return None


async def _once(result: Any) -> AsyncGenerator[Any]:
    yield result


class _Handler(BaseGraphQLTransportWSHandler[Context, None]):
    _expiry: asyncio.Task[None] | None = None

    async def handle_connection_init(self, message: Any) -> None:
        """Find out who is asking, and from then on watch their token's time."""
        await super().handle_connection_init(message)
        left = seconds_left(self.context.viewer)
        if self.connection_acknowledged and self._expiry is None and left is not None:
            self._expiry = asyncio.create_task(self._close_after(left))

    async def _close_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        # First, for nothing can be sent once the socket is closed.
        for id_ in list(self.operations):
            await self.cleanup_operation(id_)
        await self.websocket.close(code=4403, reason="The token has expired.")

    async def shutdown(self) -> None:
        """End with the connection."""
        if self._expiry is not None:
            self._expiry.cancel()
            await asyncio.wait({self._expiry})
        await super().shutdown()

    async def handle_task_exception(self, error: Exception) -> None:
        """Log what broke an operation, but not that its client has gone."""
        if not isinstance(error, WebSocketDisconnected):
            await super().handle_task_exception(error)

    async def handle_message(self, message: Any) -> None:
        """Handle a frame; one that is not of the protocol closes the socket with 4400."""
        problem = _frame_problem(message)
        if problem is not None:
            await self.handle_invalid_message(problem)
            return
        if message["type"] == "connection_init" and message.get("payload") is None:
            message = {"type": "connection_init"}
        await super().handle_message(message)

    async def handle_subscribe(self, message: Any) -> None:
        """Start an operation, unless there are too many at once."""
        largest = self.max_subscriptions_per_connection
        is_new = self.connection_acknowledged and message["id"] not in self.operations
        if is_new and largest is not None and len(self.operations) >= largest:
            error = GraphQLError(
                f"A connection carries at most {largest} operations at once.",
                extensions={"code": TOO_MANY_OPERATIONS},
            )
            await self.send_message({"id": message["id"], "type": "error", "payload": [error.formatted]})
            return
        await super().handle_subscribe(message)

    def run_operation(self, operation: Any) -> Any:
        """Execute an operation; of a subscription only the beginning is a span, see its resolver."""
        found = cast("Schema", self.schema).find(operation.query, operation.operation_name)
        if found is None or found.type is OperationType.SUBSCRIPTION:
            return super().run_operation(operation)
        return self._run_in_span(operation, found.kind)

    async def _run_in_span(self, operation: Any, kind: str) -> None:
        # Begun here: an operation may be over before its task begins, and what was begun before is never awaited.
        with operation_span(kind, operation.operation_name):
            await super().run_operation(operation)

    async def _send_result_stream(self, operation: Any, result_source: Any) -> None:
        """Send results; a reader that was let go gets an `error`, after which it subscribes anew."""
        adapter = cast("_WebSocketAdapter", self.websocket)
        send_text, send_now = adapter.send_text, adapter.send_now
        # As Strawberry writes it, around an answer that is written already.
        head = f'{{"id":{orjson.dumps(operation.id).decode()},"type":"next","payload":'
        if send_now is not None and isinstance(result_source, Told):
            result_source.tell = lambda text: send_now(f"{head}{text}}}")
        async for result in result_source:
            if isinstance(result, Answer) and result.text is not None:
                if not operation.completed:
                    await send_text(f"{head}{result.text}}}")
                continue
            errors: list[GraphQLError] = getattr(result, "errors", None) or []
            if any((error.extensions or {}).get("code") == SLOW_CONSUMER for error in errors):
                await operation.send_initial_errors(errors)
                return
            await super()._send_result_stream(operation, _once(result))

    @staticmethod
    def _get_pre_execution_close_reason(error: GraphQLError) -> str | None:
        """Never: a mistake in one operation is an `error` of that one, the socket may carry others."""
        del error
        return None


# ------------------------------------------------------------------------------------------------ a token's time


def seconds_left(viewer: Viewer | None) -> float | None:
    """How long a viewer's token is believed still; None where there is no end to it."""
    return None if viewer is None or viewer.expires_at is None else viewer.expires_at - time.time()


async def _until_expiry(results: AsyncGenerator[Any, None], viewer: Viewer | None) -> AsyncGenerator[Any, None]:
    """Yield results while the viewer's token is believed, then an error."""
    while (left := seconds_left(viewer)) is None or left > 0:
        time_left = asyncio.timeout(left)
        try:
            async with time_left:
                result = await anext(results)
        except StopAsyncIteration:
            return
        except TimeoutError:
            if time_left.expired():
                break
            raise
        yield result
    yield ExecutionResult(data=None, errors=[UnauthenticatedError("The token has expired.")])


# --------------------------------------------------------------------------------------------------------- events


class _Events(SSETransport):
    """Ends lines with LF. CR LF would be as right, but urql looks for events that end in two LF, and finds none."""

    def encode_event(self, event: str, data: str | None = None) -> str:
        return super().encode_event(event, data).replace("\r\n", "\n")

    def encode_comment(self, comment: str) -> str:
        return super().encode_comment(comment).replace("\r\n", "\n")


# ------------------------------------------------------------------------------------------------------- endpoint


async def _in_span(executed: Awaitable[ExecutionResult], kind: str | None, name: str | None) -> ExecutionResult:
    with operation_span(kind, name):
        return await executed


class GraphQLEndpoint(GraphQL[Context, None]):
    """An ASGI application for one path: requests and WebSockets.

    HTTP is answered here: Strawberry's own is looser about bodies, media types and status codes than the
    specification, and than what may come from the internet.
    """

    websocket_adapter_class = _WebSocketAdapter
    graphql_transport_ws_handler_class = _Handler

    def __init__(
        self,
        schema: Schema,
        services: Callable[[], Services],
        authenticate: Authenticate,
        *,
        allowed_origins: Sequence[str] = (),
        connection_init_seconds: float = 5,
        operations_per_connection: int = 10,
    ) -> None:
        """`services` hands out what is opened after the application is made."""
        super().__init__(
            schema,
            graphql_ide=None,
            subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL,),
            connection_init_wait_timeout=timedelta(seconds=connection_init_seconds),
            max_subscriptions_per_connection=operations_per_connection,
            allowed_origins=allowed_origins,
        )
        self._served = schema
        self._services = services
        self._authenticate = authenticate
        self._sse = _Events()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or serve a WebSocket for as long as it is open."""
        if scope["type"] != "http":
            await self.run(WebSocket(scope, receive, send))
            return
        head = Head.of(scope)
        response: ASGIApp
        try:
            response = await self._answer(head, receive)
        except ClientDisconnect:
            return
        except UnauthenticatedError as error:
            response = error_response(error, 401, media_type_for(head), {"WWW-Authenticate": "Bearer"})
        except RefusedError as error:
            response = refusal_of(error, media_type_for(head))
        await response(scope, receive, send)

    async def _answer(self, head: Head, receive: Receive) -> ASGIApp:
        if head.method not in {"GET", "POST"}:
            raise RefusedError(405, "GraphQL is asked with GET or POST.", {"Allow": "GET, POST"})
        viewer = await self._authenticate(head.header(b"authorization"), head.cookies)
        parameters = await asked(head, receive)
        operation = self._served.find(parameters.query, parameters.operation_name)
        operation_type = None if operation is None else operation.type
        of_subscription = operation_type is OperationType.SUBSCRIPTION
        media_type = media_type_for(head, of_subscription=of_subscription)
        if media_type is None:
            wanted = EVENTS if of_subscription else f"{GRAPHQL_JSON}, {JSON} or {EVENTS}"
            raise RefusedError(406, f"This is answered with {wanted}: say in Accept that you take it.")
        if head.method == "GET" and operation_type is OperationType.MUTATION:
            raise RefusedError(405, "A mutation is sent with POST.", {"Allow": "POST"})
        context = Context(self._services(), viewer)
        if media_type == EVENTS:
            return await self._streamed(parameters, context, operation)
        try:
            result = await self._executed(parameters, context, operation)
        except CannotGetOperationTypeError as error:
            raise RefusedError(400, error.as_http_error_reason()) from None
        return response_to(result, media_type)

    def _executed(self, parameters: Asked, context: Context, operation: Operation | None) -> Awaitable[ExecutionResult]:
        """Execute a query or mutation. Nothing has been executed with the context before."""
        if operation is None or not self._served.is_ready(operation, parameters.variables):
            executed = self._served.execute(
                parameters.query,
                variable_values=parameters.variables,
                context_value=context,
                operation_name=parameters.operation_name,
                operation_extensions=parameters.extensions,
                allowed_operation_types=_ANSWERED,
            )
        else:
            executed = self._served.run(operation, parameters.variables, context)
        if not makes_spans():
            return executed
        return _in_span(executed, None if operation is None else operation.kind, parameters.operation_name)

    async def _streamed(self, parameters: Asked, context: Context, operation: Operation | None) -> Response:
        async def executed() -> AsyncGenerator[ExecutionResult, None]:
            yield await self._executed(parameters, context, operation)

        results: AsyncGenerator[Any, None] = executed()
        if operation is None or operation.type is OperationType.SUBSCRIPTION:
            results = await self._served.stream(
                parameters.query,
                variable_values=parameters.variables,
                context_value=context,
                operation_name=parameters.operation_name,
                operation_extensions=parameters.extensions,
            )

        async def events() -> AsyncGenerator[str, None]:
            try:
                async for result in _until_expiry(results, context.viewer):
                    if isinstance(result, Answer) and result.text is not None:
                        yield self._sse.encode_event("next", result.text)
                        continue
                    # Incremental delivery is off: there is nothing else than whole results.
                    body = cast("Any", body_of(cast("ExecutionResult", result)))
                    yield self._sse.encode_next(body, self.encode_json)
            finally:
                await results.aclose()
            yield self._sse.encode_complete()

        merged = merge_stream_with_heartbeat(
            events,
            lambda: self._sse.heartbeat_message(self.encode_json),
            interval=self._sse.heartbeat_interval,
            # The first bytes tell the client at once that it is connected.
            send_initial_heartbeat=True,
        )
        return StreamingResponse(merged(), headers={**self._sse.headers, "Vary": "Accept"})

    # -------------------------------------------------------------------------------------- what Strawberry asks for

    def encode_json(self, data: object) -> str:
        """Write a message. A str, because bytes would make WebSocket frames binary."""
        return written(data).decode()

    def decode_json(self, data: str | bytes) -> object:
        """Read a WebSocket message strictly. Raises JSONDecodeError, of which Strawberry makes a 4400."""
        try:
            value = parse(data)
        except InvalidJsonError as error:
            raise json.JSONDecodeError(str(error), "", 0) from None
        if not isinstance(value, dict):
            raise json.JSONDecodeError("Not an object", "", 0)
        return value

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:
        """Return what a WebSocket's operations have in common."""
        del response
        headers, cookies = request.headers, request.cookies
        return _Connection(self._services(), None, authorization=headers.get("authorization"), cookies=cookies)

    async def on_ws_connect(self, context: Context) -> UnsetType | dict[str, object] | None:
        """Find out who is asking. Raises ConnectionRejectionError for a broken token: 4403."""
        connection = cast("_Connection", context)
        given = [value for key, value in connection.connection_params.items() if key.lower() == "authorization"]
        authorization = given[0] if given else connection.authorization
        if not isinstance(authorization, OPTIONAL_TEXT):
            raise ConnectionRejectionError
        try:
            connection.viewer = await self._authenticate(authorization, connection.cookies)
        except UnauthenticatedError:
            raise ConnectionRejectionError from None
        no_payload: UnsetType = UNSET
        return no_payload
