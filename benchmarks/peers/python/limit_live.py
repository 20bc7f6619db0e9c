"""The limit of live events: bare Starlette, which sends a text that is ready to everybody who is there."""

import asyncio
import base64
import json
import os

import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

listening: set[WebSocket] = set()


async def listen(socket: WebSocket) -> None:
    await socket.accept(subprotocol="graphql-transport-ws")
    listening.add(socket)
    try:
        await socket.receive_text()
    except Exception:  # noqa: BLE001, S110  (it has left)
        pass
    finally:
        listening.discard(socket)


async def send(first: int, count: int) -> None:
    for number in range(first, first + count):
        cursor = base64.urlsafe_b64encode(b'["l",%d]' % number).decode().rstrip("=")
        event = {"cursor": cursor, "log": {"id": f"log_bench{number}", "message": "An event"}}
        message = {"id": "1", "type": "next", "payload": {"data": {"jobLogAppended": event}}}
        text = json.dumps(message, separators=(",", ":"))
        for socket in list(listening):
            await socket.send_text(text)
        await asyncio.sleep(0)


async def publish(request: Request) -> Response:
    asked = request.query_params
    return Response(background=BackgroundTask(send, int(asked["first"]), int(asked["count"])))


app = Starlette(routes=[WebSocketRoute("/ws", listen), Route("/publish", publish, methods=["POST"])])

if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False, log_level="warning", loop="uvloop")
