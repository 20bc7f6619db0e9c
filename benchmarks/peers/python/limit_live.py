"""The limit of live events: bare Starlette, which sends a text that is ready to everybody who is there."""

import asyncio
import json
import os

import uvicorn
from starlette.applications import Starlette
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


async def publish(request: Request) -> Response:
    for number in range(int(request.query_params["count"])):
        event = {"cursor": str(number), "log": {"id": f"log_{number}", "message": "An event"}}
        text = json.dumps({"id": "1", "type": "next", "payload": {"data": {"jobLogAppended": event}}})
        for socket in list(listening):
            await socket.send_text(text)
        await asyncio.sleep(0)
    return Response()


app = Starlette(routes=[WebSocketRoute("/ws", listen), Route("/publish", publish, methods=["POST"])])

if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False, log_level="warning", loop="uvloop")
