"""A real browser in front of a real server, with real agents and a judge that does as it is told."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, ViewportSize, async_playwright, expect
from pydantic import SecretStr

from app.auth import SESSION_COOKIE, Tokens
from app.pages import BUILDS, COMPLETE
from app.secrets import secret_keys
from app.settings import read
from db.records import Role
from tests.agents import Response, ScriptedAgent
from tests.databases import SQLite
from tests.processes import process

SECRET_KEY = "k" * 40
BROWSER = Path(sys.executable).with_name("browser")
# Chromium's own errands would leave the machine.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Nothing waits that long on a machine that has nothing else to do.
PATIENCE_MILLISECONDS = 30_000
DESKTOP: ViewportSize = {"width": 1440, "height": 900}
PHONE: ViewportSize = {"width": 360, "height": 740}

StartAgent = Callable[..., Awaitable[tuple[ScriptedAgent, str]]]

CREATE_AGENT = (
    "mutation($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } userErrors { message } } }"
)
CREATE_JOB = "mutation($input: CreateJobInput!) { createJob(input: $input) { job { id } userErrors { message } } }"
EXECUTE = "mutation($input: ExecuteJobInput!) { executeJob(input: $input) { job { status } userErrors { message } } }"
CRITERIA = "query($id: ID!) { job(id: $id) { acceptanceCriteria { id } } }"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run these tests on one event loop, the browser's: it lives as long as the session."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and isinstance(item, pytest.Function) and iscoroutinefunction(item.function):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


# ------------------------------------------------------------------------------------------------------ the service


@dataclass(frozen=True)
class Someone:
    """Somebody with a token, whom no other test knows: their lists hold what this test made."""

    id: str
    name: str
    role: Role


def a_client() -> Someone:
    return Someone(f"client-{uuid4().hex[:12]}", "Inês", Role.CLIENT)


def an_admin() -> Someone:
    return Someone(f"admin-{uuid4().hex[:12]}", "Ada", Role.ADMIN)


@dataclass
class Site:
    """The service, asked over its API for what a test starts with."""

    url: str
    judge_url: str
    http: httpx.AsyncClient
    tokens: Tokens
    agents: dict[str, str]
    """The demo's agents: name → id."""

    def token(self, someone: Someone, *, ttl_seconds: float = 3600) -> str:
        return self.tokens.issue(someone.id, someone.role, name=someone.name, ttl_seconds=ttl_seconds)

    async def ask(self, someone: Someone, query: str, **variables: Any) -> dict[str, Any]:
        """The data of an operation that is neither wrong nor refused."""
        answer = await self.http.post(
            f"{self.url}/graphql",
            json={"query": query, "variables": variables},
            headers={"authorization": f"Bearer {self.token(someone)}"},
        )
        body = answer.json()
        assert "errors" not in body, body
        data: dict[str, Any] = body["data"]
        assert all(not (part or {}).get("userErrors") for part in data.values()), data
        return data

    async def agent(self, url: str, name: str | None = None, **more: Any) -> str:
        name = name or f"Agent {uuid4().hex[:6]}"
        made = await self.ask(an_admin(), CREATE_AGENT, input={"name": name, "endpointUrl": url, **more})
        return str(made["createAgent"]["agent"]["id"])

    async def job(self, owner: Someone, agent_id: str | None = None, **more: Any) -> str:
        draft = {
            "title": "The summary",
            "acceptanceCriteria": [{"text": "It says so", "check": {"expression": "answer.ok"}}],
            "agentId": agent_id,
            **more,
        }
        made = await self.ask(owner, CREATE_JOB, input=draft)
        return str(made["createJob"]["job"]["id"])

    async def execute(self, someone: Someone, job_id: str, wait_seconds: int = 60) -> str:
        """Execute a job, and the status that it has then."""
        answer = await self.ask(someone, EXECUTE, input={"jobId": job_id, "waitSeconds": wait_seconds})
        return str(answer["executeJob"]["job"]["status"])

    async def criteria(self, owner: Someone, job_id: str) -> list[str]:
        job = (await self.ask(owner, CRITERIA, id=job_id))["job"]
        return [criterion["id"] for criterion in job["acceptanceCriteria"]]

    async def judge(self, *steps: dict[str, Any], default: str = "pass") -> None:
        """Tell the judge what to do with its next requests, and what it thinks without being told."""
        (await self.http.put(f"{self.judge_url}/script", json=list(steps))).raise_for_status()
        (await self.http.put(f"{self.judge_url}/rules", json={"default": default})).raise_for_status()


@pytest.fixture(scope="session")
def started(sqlite: SQLite, tmp_path_factory: pytest.TempPathFactory) -> Generator[dict[str, Any]]:
    """A server, the demo's agents and a judge, each on loopback."""
    if not any((folder / COMPLETE).is_file() for folder in BUILDS):
        pytest.fail("the pages are not built: python3 dev.py setup")
    directory = tmp_path_factory.mktemp("browser")
    with (
        sqlite.database() as database_url,
        process(["tests.judge_server"], dict(os.environ), directory / "judge.log", r"^(http\S+)$") as judge_url,
    ):
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SIGNOFF_", "OPENAI_"))},
            "SIGNOFF_DATABASE_URL": database_url,
            "SIGNOFF_SECRET_KEY": SECRET_KEY,
            "SIGNOFF_ALLOWED_AGENT_NETWORKS": "127.0.0.0/8",
            "OPENAI_API_KEY": "a-key",
            "OPENAI_BASE_URL": judge_url,
        }
        with process(["tests.browser.server"], environment, directory / "server.log", r"serves (.*)") as there_is:
            yield {**json.loads(there_is), "judge_url": judge_url, "database_url": database_url}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_site(started: dict[str, Any]) -> AsyncGenerator[Site]:
    settings = read(database_url=started["database_url"], secret_key=SecretStr(SECRET_KEY))
    async with httpx.AsyncClient(timeout=90, trust_env=False) as http:
        judge_url = started["judge_url"].removesuffix("/v1")
        site = Site(started["url"], judge_url, http, Tokens.of(secret_keys(settings)), {})
        for agent in started["agents"]:
            made = await site.ask(an_admin(), CREATE_AGENT, input={**agent, "idempotent": True})
            site.agents[agent["name"]] = made["createAgent"]["agent"]["id"]
        yield site


@pytest_asyncio.fixture(loop_scope="session")
async def site(shared_site: Site) -> Site:
    """The service, with a judge that has forgotten what the test before told it."""
    await shared_site.judge()
    return shared_site


@pytest_asyncio.fixture(loop_scope="session")
async def start_agent(site: Site) -> AsyncGenerator[StartAgent]:
    """Starts and registers an agent that answers as scripted; returns it and its id."""
    async with AsyncExitStack() as running:

        async def start(*responses: Response, **more: Any) -> tuple[ScriptedAgent, str]:
            agent = await running.enter_async_context(ScriptedAgent(*responses))
            return agent, await site.agent(agent.url, **more)

        yield start


# ------------------------------------------------------------------------------------------------------ the browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncGenerator[Browser]:
    if not BROWSER.exists():
        pytest.skip("there is no browser: install Chromium, then python3 dev.py setup")
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield browser
        await browser.close()


@dataclass
class Visit:
    """One person's browser. Nothing that they open may go wrong, or ask another machine for anything."""

    context: BrowserContext
    page: Page
    url: str
    problems: list[str] = field(default_factory=list[str])
    requests: list[str] = field(default_factory=list[str])
    expected: list[str] = field(default_factory=list[str])

    def watch(self) -> None:
        """Write down what goes wrong, and every address that is asked for."""
        self.context.on("console", self._said)
        self.context.on("weberror", lambda error: self.problems.append(f"uncaught: {error.error}"))
        self.context.on("request", lambda request: self.requests.append(request.url))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(words in message.text for words in self.expected):
            self.problems.append(f"{message.type} at {message.location.get('url')}: {message.text}")

    def expects(self, *words: str) -> None:
        """Say what the browser will complain of, because this test makes it so."""
        self.expected.extend(words)

    async def open(self, path: str) -> Page:
        """Go to a page, and wait until it shows what it is about."""
        await self.page.goto(f"{self.url}{path}")
        await expect(self.page.get_by_role("heading", level=1)).to_be_visible()
        return self.page

    def abroad(self) -> list[str]:
        """Every address that was asked for on another machine, or from another server of this one."""
        here = urlsplit(self.url).netloc
        inside = {"data", "blob"}
        return [url for url in self.requests if (at := urlsplit(url)).scheme not in inside and at.netloc != here]


Visiting = Callable[[Someone | None], Awaitable[Visit]]


async def give_session(context: BrowserContext, site: Site, token: str) -> None:
    """Sign somebody in, as the login does."""
    await context.add_cookies(
        [{"name": SESSION_COOKIE, "value": token, "url": site.url, "httpOnly": True, "sameSite": "Strict"}]
    )


@pytest_asyncio.fixture(loop_scope="session")
async def visit(site: Site, browser: Browser) -> AsyncGenerator[Visiting]:
    """Opens a browser for each call: somebody's who is signed in, or for None that of anybody."""
    visits: list[Visit] = []

    async def start(someone: Someone | None) -> Visit:
        context = await browser.new_context(viewport=DESKTOP, reduced_motion="reduce")
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        if someone is not None:
            await give_session(context, site, site.token(someone))
        visit = Visit(context, await context.new_page(), site.url)
        visit.watch()
        visits.append(visit)
        return visit

    yield start
    for each in visits:
        await each.context.close()
    assert [problem for each in visits for problem in each.problems] == []
    assert [url for each in visits for url in each.abroad()] == []
