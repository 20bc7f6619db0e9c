"""`signoff serve` in a process of its own, as an operator starts it, and a look at its memory and its log."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from pydantic import SecretStr

from app.auth import Tokens
from db.records import Role

ROOT = Path(__file__).resolve().parents[2]
KEY = "the secret key of a server that is treated badly"
TOKENS = Tokens.of([SecretStr(KEY)])
START_SECONDS = 60


@dataclass
class ServerProcess:
    """A server that listens at `host`, and who asks it."""

    process: asyncio.subprocess.Process
    host: str
    log: Path
    http: httpx.AsyncClient

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def resident_bytes(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def stack_traces(self) -> list[str]:
        """The lines of the log that tell of bugs."""
        return [line for line in self.log.read_text().splitlines() if "Traceback" in line]

    async def ask(self, query: str, role: Role = Role.CLIENT, **variables: Any) -> dict[str, Any]:
        """The data of an operation that has no errors."""
        headers = {"authorization": f"Bearer {token(role)}"}
        answer = await self.http.post("/graphql", json={"query": query, "variables": variables}, headers=headers)
        body: dict[str, Any] = answer.json()
        assert "errors" not in body, body
        data: dict[str, Any] = body["data"]
        return data


def token(role: Role = Role.CLIENT) -> str:
    return TOKENS.issue("ines" if role is Role.CLIENT else "ada", role)


@asynccontextmanager
async def served(directory: Path, **settings: str) -> AsyncGenerator[ServerProcess]:
    """A server on a fresh SQLite database; agents may live on loopback."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SIGNOFF_", "OPENAI_"))}
    environment |= {
        "SIGNOFF_DATABASE_URL": f"sqlite+aiosqlite:///{directory / 'hostile.db'}",
        "SIGNOFF_SECRET_KEY": KEY,
        "SIGNOFF_ALLOWED_AGENT_NETWORKS": "127.0.0.0/8",
        "SIGNOFF_TRUSTED_HOSTS": "127.0.0.1",
        "SIGNOFF_MUTATIONS_PER_MINUTE": "1000000",
        "SIGNOFF_MUTATIONS_BURST": "1000000",
        "SIGNOFF_RETRY_FIRST_SECONDS": "0.1",
        **settings,
    }
    log = directory / "server.log"
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app", "serve", "--port", "0"), cwd=ROOT, env=environment, stderr=written
        )
    try:
        host = await _address(process, log)
        # A connection for each request: the server closes idle ones, perhaps just when one is used again.
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=60, limits=limits) as http:
            yield ServerProcess(process, host, log, http)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _address(process: asyncio.subprocess.Process, log: Path) -> str:
    async with asyncio.timeout(START_SECONDS):
        while (found := re.search(r"serves at http://([\d.:]+)/", _told(log))) is None:
            assert process.returncode is None, _told(log)
            await asyncio.sleep(0.05)
    return found[1]


def _told(log: Path) -> str:
    return log.read_text()
