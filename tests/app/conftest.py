"""The whole application in this process, asked through ASGI."""

from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from app.asgi import Application, create_app
from app.auth import Tokens
from app.secrets import secret_keys
from app.settings import Settings, read
from db.records import Role
from schema.build import build_schema
from tests.agents import LOOPBACK, ScriptedAgent

CREATE_AGENT = (
    "mutation($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } userErrors { message } } }"
)
CREATE_JOB = "mutation($input: CreateJobInput!) { createJob(input: $input) { job { id } userErrors { message } } }"
PASSES = [{"text": "It says ok", "check": {"expression": "answer.ok"}}]


@pytest.fixture(scope="session", autouse=True)
def shared_schemas() -> Generator[None]:
    """Build each schema once for all applications of this process: it has no state but the documents it has seen."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.asgi.build_schema", cache(build_schema))
        yield


@pytest.fixture
def settings(sqlite_url: str) -> Settings:
    return read(
        database_url=sqlite_url,
        secret_key=SecretStr("k" * 40),
        trusted_hosts=("*",),
        allowed_agent_networks=LOOPBACK,
        openai_api_key=None,
    )


@dataclass
class Api:
    """The application, asked by one person after another."""

    app: Application
    http: httpx.AsyncClient
    tokens: Tokens

    def bearer(self, subject: str = "ines", role: Role = Role.CLIENT) -> dict[str, str]:
        return {"authorization": f"Bearer {self.tokens.issue(subject, role)}"}

    async def ask(self, query: str, role: Role = Role.CLIENT, **variables: Any) -> dict[str, Any]:
        """The data of an operation that has no errors."""
        subject = "ines" if role is Role.CLIENT else "ada"
        answer = await self.http.post(
            "/graphql", json={"query": query, "variables": variables}, headers=self.bearer(subject, role)
        )
        body = answer.json()
        assert "errors" not in body, body
        data: dict[str, Any] = body["data"]
        return data

    async def agent(self, url: str, **more: Any) -> str:
        made = await self.ask(CREATE_AGENT, Role.ADMIN, input={"name": "An agent", "endpointUrl": url, **more})
        assert made["createAgent"]["userErrors"] == []
        return str(made["createAgent"]["agent"]["id"])

    async def job(self, agent_id: str | None = None, **more: Any) -> str:
        draft = {"title": "A job", "acceptanceCriteria": PASSES, "agentId": agent_id, **more}
        made = await self.ask(CREATE_JOB, input=draft)
        assert made["createJob"]["userErrors"] == []
        return str(made["createJob"]["job"]["id"])

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return await self.http.get(path, headers={**self.bearer(), **(headers or {})})

    async def execute(
        self, job_id: str, content: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        path = f"/api/jobs/{job_id}/execute"
        return await self.http.post(path, content=content, headers={**self.bearer(), **(headers or {})})


OpenApi = Callable[..., AbstractAsyncContextManager[Api]]


@pytest.fixture
def open_api(settings: Settings) -> OpenApi:
    """Open the application with other settings than the usual."""

    @asynccontextmanager
    async def opened(**changed: Any) -> AsyncGenerator[Api]:
        own = settings.model_copy(update=changed)
        app = create_app(own)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://signoff.test") as http,
        ):
            yield Api(app, http, Tokens.of(secret_keys(own)))

    return opened


@pytest.fixture
async def api(open_api: OpenApi) -> AsyncGenerator[Api]:
    async with open_api() as opened:
        yield opened


@pytest.fixture
async def agent() -> AsyncGenerator[ScriptedAgent]:
    async with ScriptedAgent() as scripted:
        yield scripted
