"""Serves the agents on loopback, each on a port of its own."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.demo_agents import changelog, contacts, tables
from app.serving import listen, port_of
from app.settings import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from starlette.requests import Request


@dataclass(frozen=True)
class DemoAgent:
    """An agent and where it can be called."""

    name: str
    description: str
    url: str
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals to the demo."""
        yield


def agent_app(path: str, work: Callable[[dict[str, Any]], dict[str, Any]]) -> Starlette:
    """An agent's HTTP interface: one POST with a JSON body, one JSON answer."""

    async def answer(request: Request) -> JSONResponse:
        return JSONResponse(await asyncio.to_thread(work, await request.json()))

    return Starlette(routes=[Route(path, answer, methods=["POST"])])


@asynccontextmanager
async def agents_served() -> AsyncGenerator[list[DemoAgent]]:
    """Serve every agent while the context is open."""
    servers: list[_Server] = []
    served: list[DemoAgent] = []
    async with asyncio.TaskGroup() as tasks:
        for agent in (contacts, tables, changelog):
            config = uvicorn.Config(agent_app(agent.PATH, agent.run), lifespan="off", log_config=None, access_log=False)
            sockets = listen(LOOPBACK, 0)
            servers.append(_Server(config))
            tasks.create_task(servers[-1].serve(sockets))
            url = f"http://{LOOPBACK}:{port_of(sockets[0])}{agent.PATH}"
            served.append(DemoAgent(agent.NAME, agent.DESCRIPTION, url, agent.INPUT_SCHEMA, agent.OUTPUT_SCHEMA))
        try:
            yield served
        finally:
            for server in servers:
                server.should_exit = True
