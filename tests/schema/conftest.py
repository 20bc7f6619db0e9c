"""The GraphQL endpoint over a whole service in this process, asked through ASGI."""

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, cast

import httpx
import pytest
import uvicorn
from graphql import OperationType
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute

from resolvers.context import Context, Services
from resolvers.errors import UnauthenticatedError
from schema.build import Schema, build_schema
from schema.documents import Operation
from schema.endpoint import GraphQLEndpoint
from schema.http import body_of
from schema.scalars import written
from services.viewer import Viewer
from tests.fakes import FakeExecutor, FakeValidator
from tests.services.conftest import ADMIN, CLIENT, STRANGER, House, OpenHouse, open_house

__all__ = ["open_house"]

PEOPLE = {viewer.id: viewer for viewer in (ADMIN, CLIENT, STRANGER)}
# The client's token, for a moment.
# Long enough for whoever has it to have begun what its end is to end.
BRIEF, BRIEF_SECONDS = "brief", 1.5


async def authenticate(authorization: str | None, cookies: Mapping[str, str]) -> Viewer | None:
    """A token is the bearer's id."""
    token = (authorization or "").removeprefix("Bearer ") or cookies.get("session")
    if token is None:
        return None
    if token == BRIEF:
        return replace(CLIENT, expires_at=time.time() + BRIEF_SECONDS)
    if token not in PEOPLE:
        raise UnauthenticatedError("The token is broken.")
    return PEOPLE[token]


@dataclass
class Api:
    """Asks GraphQL as somebody."""

    http: httpx.AsyncClient
    app: Starlette
    house: House
    schema: Schema
    executor: FakeExecutor
    validator: FakeValidator
    headers: dict[str, str] = field(default_factory=dict[str, str])

    def by(self, viewer: Viewer | None) -> "Api":
        headers = {} if viewer is None else {"authorization": f"Bearer {viewer.id}"}
        return Api(self.http, self.app, self.house, self.schema, self.executor, self.validator, headers)

    async def post(self, body: object, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": "application/json", **self.headers, **headers}
        return await self.http.post("/graphql", content=content, headers=sent)

    async def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The whole answer."""
        response = await self.post({"query": query, "variables": variables})
        answer: dict[str, Any] = response.json()
        return answer

    async def data(self, query: str, **variables: Any) -> dict[str, Any]:
        """What was asked for; there must be no error."""
        answer = await self.ask(query, **variables)
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    async def error(self, query: str, **variables: Any) -> tuple[str, str]:
        """The code and message of the one error."""
        answer = await self.ask(query, **variables)
        (error,) = answer["errors"]
        return error["extensions"]["code"], error["message"]

    async def refusal(self, query: str, **variables: Any) -> tuple[str, list[str] | None]:
        """The code and path of the one user error of the one mutation."""
        (payload,) = (await self.data(query, **variables)).values()
        (error,) = payload["userErrors"]
        return error["code"], error["path"]


# Where this is false, operations are executed once, as they are in service: their statements are counted, say.
comparing: ContextVar[bool] = ContextVar("comparing", default=True)


@cache
def uncompiled() -> Schema:
    return build_schema(compiled=False)


@cache
def compared() -> Schema:
    """A schema that has every query executed by graphql-core too, which must have the same answer."""
    schema = build_schema()
    compiled = schema.run

    async def run(operation: Operation, variables: Mapping[str, Any] | None, context: Any, root: Any = None) -> Any:
        result = await compiled(operation, variables, context, root)
        if not comparing.get() or operation.type is not OperationType.QUERY:
            return result
        assert operation.ast.loc is not None
        query = operation.ast.loc.source.body
        # What executions change in the background may come in between: then both are asked again.
        for tries_left in reversed(range(5)):
            expected = _answer(
                await uncompiled().execute(query, dict(variables or {}), context, root, operation_name=operation.name)
            )
            if _answer(result) == expected:
                break
            assert tries_left, f"{query}\n{_answer(result)!r}\n{expected!r}"
            again = context.for_operation() if isinstance(context, Context) else context
            result = await compiled(operation, variables, again, root)
        return result

    cast("Any", schema).run = run
    return schema


def _answer(result: Any) -> bytes:
    # A bug's trace id is each time another.
    return re.sub(rb'"traceId":"[^"]*"', b"", written(body_of(result)))


def services_of(house: House, executor: FakeExecutor) -> Services:
    container = house.container
    return Services(
        agents=container.agents,
        jobs=container.jobs,
        executions=container.executions,
        logs=container.logs,
        feed=container.feed,
        rates=container.rates,
        redact=container.journal.redact,
        executors=sorted(container.executors),
        validators=[container.validator.name],
        can_judge=False,
    )


@pytest.fixture
async def api(open_house: OpenHouse) -> AsyncGenerator[Api]:
    """As the client; `api.by(…)` is somebody else."""
    executor, validator = FakeExecutor(), FakeValidator()
    async with open_house(extra_executors={"fake": executor}, validator=validator) as house:
        schema = compared()
        services = services_of(house, executor)
        endpoint = GraphQLEndpoint(schema, lambda: services, authenticate, connection_init_seconds=1)
        app = Starlette(routes=[Route("/graphql", endpoint), WebSocketRoute("/graphql", endpoint)])
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://signoff") as http:
            yield Api(http, app, house, schema, executor, validator).by(CLIENT)


async def until(condition: Callable[[], bool], patience_seconds: float = 20) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + patience_seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        await asyncio.sleep(0.005)


class Followers:
    """How many follow at the moment."""

    def __init__(self, house: House) -> None:
        self._house = house

    @property
    def count(self) -> int:
        container = self._house.container
        return container.bus.followers + container.feed.sharing


@pytest.fixture
def followers(api: Api) -> Followers:
    return Followers(api.house)


@pytest.fixture
async def served(api: Api) -> AsyncGenerator[str]:
    """The endpoint on a real server; its host and port."""
    server = uvicorn.Server(uvicorn.Config(api.app, port=0, log_level="critical", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving
