"""A WebSocket client without a network: speaks ASGI with the application, and graphql-transport-ws over it."""

import asyncio
import json
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from starlette.types import ASGIApp

from schema.endpoint import SEND_NOW

PROTOCOL = "graphql-transport-ws"
PATIENCE_SECONDS = 30


@dataclass(frozen=True)
class Closed:
    """The server closed the socket; before it was accepted, a real server answers the handshake with 403."""

    code: int
    reason: str = ""
    accepted: bool = True


class Socket:
    """Open while its context is."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        headers: Mapping[str, str] | None = None,
        subprotocols: tuple[str, ...] = (PROTOCOL,),
        room: int = 0,
    ) -> None:
        """`room` is how many messages the app can send before it must wait for somebody to receive; 0: any."""
        sent = {"host": "signoff", **(headers or {})}
        self._scope = {
            "type": "websocket",
            "path": "/graphql",
            "scheme": "ws",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
            "subprotocols": list(subprotocols),
            SEND_NOW: self._send_now,
        }
        self._app = app
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from_app: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue(room)
        self._accepted = False
        self._stuck = asyncio.Event()
        self.is_gone = False
        """Whether the connection is lost: the server has noticed, and says so to whoever sends."""
        self.subprotocol: str | None = None

    async def __aenter__(self) -> Self:
        self._to_app.put_nowait({"type": "websocket.connect"})
        self._task = asyncio.create_task(self._run())
        return self

    async def _run(self) -> None:
        await self._app(self._scope, self._to_app.get, self._send)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": 1000})
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._task

    async def send(self, message: object) -> None:
        """Send a message as JSON; a str as it is, bytes as a binary frame."""
        if isinstance(message, bytes):
            self._to_app.put_nowait({"type": "websocket.receive", "bytes": message})
        else:
            text = message if isinstance(message, str) else json.dumps(message)
            self._to_app.put_nowait({"type": "websocket.receive", "text": text})

    async def stuck(self) -> None:
        """Wait until the app has filled the room and waits itself for somebody to receive."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._stuck.wait()

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if self.is_gone:
            raise OSError
        if self._from_app.full():
            self._stuck.set()
        await self._from_app.put(message)
        self._stuck.clear()

    def _send_now(self, text: str) -> bool:
        """Send as our server does, as long as nobody has to wait for room."""
        if self.is_gone or self._from_app.full():
            return False
        self._from_app.put_nowait({"type": "websocket.send", "text": text})
        return True

    async def receive(self) -> Any:
        """The next message, or Closed."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            message = await self._from_app.get()
        if message["type"] == "websocket.accept":
            self._accepted = True
            self.subprotocol = message["subprotocol"]
            return await self.receive()
        if message["type"] == "websocket.close":
            return Closed(message["code"], message.get("reason") or "", self._accepted)
        return json.loads(message["text"])

    async def init(self, token: str | None = None, key: str = "authorization") -> Any:
        """Send connection_init; returns the answer."""
        await self.send({"type": "connection_init", "payload": {} if token is None else {key: f"Bearer {token}"}})
        return await self.receive()

    async def subscribe(self, id_: str, query: str, **variables: Any) -> None:
        """Start an operation."""
        payload = {"query": query, "variables": variables}
        await self.send({"type": "subscribe", "id": id_, "payload": payload})

    async def next(self, id_: str) -> dict[str, Any]:
        """The data of the operation's next result."""
        message = await self.receive()
        assert isinstance(message, dict), message
        assert (message["type"], message["id"]) == ("next", id_), message
        assert "errors" not in message["payload"], message
        data: dict[str, Any] = message["payload"]["data"]
        return data

    async def error(self, id_: str) -> tuple[str, str]:
        """Code and message of the error that ends the operation."""
        message = await self.receive()
        assert (message["type"], message["id"]) == ("error", id_), message
        (error,) = message["payload"]
        return error["extensions"]["code"], error["message"]
