"""A real server and a real agent, each a process on loopback, for other people's clients."""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from app.auth import Tokens
from app.secrets import secret_keys
from app.settings import read
from db.records import Role
from tests.databases import SQLite
from tests.processes import process

SECRET_KEY = "k" * 40
# So long that IN_EXECUTION can be seen, so short that nobody waits.
AGENT_SECONDS = "0.2"
CREATE_AGENT = "mutation($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } userErrors { code } } }"


@dataclass(frozen=True)
class Served:
    """Where the server is, what a client shows there, and an agent whose answers meet `answer.ok`."""

    url: str
    token: str
    agent_id: str
    log: Path


@pytest.fixture(scope="session")
def served(sqlite: SQLite, tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    directory = tmp_path_factory.mktemp("clients")
    log = directory / "server.log"
    with sqlite.database() as database_url:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SIGNOFF_", "OPENAI_"))},
            "SIGNOFF_DATABASE_URL": database_url,
            "SIGNOFF_SECRET_KEY": SECRET_KEY,
            "SIGNOFF_ALLOWED_AGENT_NETWORKS": "127.0.0.0/8",
        }
        tokens = Tokens.of(secret_keys(read(database_url=database_url, secret_key=SecretStr(SECRET_KEY))))
        agent = ["tests.crash.agent", "--log", str(directory / "agent.jsonl")]
        server = ["app", "serve", "--port", "0"]
        with (
            process(agent, environment, directory / "agent.log", r"^(\d+)$") as agent_port,
            process(server, environment, log, r"serves at (\S+)") as url,
        ):
            agent_url = f"http://127.0.0.1:{agent_port}/{AGENT_SECONDS}"
            made = httpx.post(
                url,
                json={"query": CREATE_AGENT, "variables": {"input": {"name": "An agent", "endpointUrl": agent_url}}},
                headers={"authorization": f"Bearer {tokens.issue('ada', Role.ADMIN)}"},
                trust_env=False,
            ).json()["data"]["createAgent"]
            assert made["userErrors"] == []
            yield Served(url, tokens.issue("ines", Role.CLIENT), made["agent"]["id"], log)
