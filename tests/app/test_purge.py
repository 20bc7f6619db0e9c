"""Old payloads go, in batches; entries stay, and so does everything that an execution still needs."""

import asyncio
from typing import Any

import pytest
from pydantic import SecretStr

from app.commands import database as commands
from app.settings import Settings, read
from tests.agents import LOOPBACK, Response, ScriptedAgent
from tests.app.conftest import Api

LOG = """query($id: ID!) { job(id: $id) { logs(first: 100) { nodes {
  type message payload payloadState payloadBytes execution { id } } } } }"""
ABOUT_AN_EXECUTION = {"AGENT_REQUEST", "AGENT_RESPONSE", "VALIDATOR_REQUEST", "VALIDATOR_RESPONSE"}


@pytest.fixture
def settings(database_url: str) -> Settings:
    return read(
        database_url=database_url,
        secret_key=SecretStr("k" * 40),
        trusted_hosts=("*",),
        allowed_agent_networks=LOOPBACK,
        openai_api_key=None,
    )


async def log(api: Api, job_id: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = (await api.ask(LOG, id=job_id))["job"]["logs"]["nodes"]
    return entries


async def test_purge_empties_old_payloads_of_finished_executions_only(
    api: Api, settings: Settings, agent: ScriptedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "BATCH", 3)
    async with ScriptedAgent(Response(hangs=True)) as busy:
        finished = await api.job(await api.agent(agent.url))
        live = await api.job(await api.agent(busy.url))
        await api.execute(finished)
        await api.execute(live, b'{"waitSeconds": 0}')
        async with asyncio.timeout(20):
            while not busy.requests:  # noqa: ASYNC110 - it is a list that grows
                await asyncio.sleep(0.02)
        before = await log(api, finished)
        await asyncio.sleep(0.1)

        counts = [
            await commands.purged(settings, 3600, dry_run=False),
            await commands.purged(settings, 0.05, dry_run=True),
            await commands.purged(settings, 0.05, dry_run=False),
            await commands.purged(settings, 0.05, dry_run=False),
        ]

        assert counts == [0, 4, 4, 0]
        assert {entry["payloadState"] for entry in await log(api, live)} == {"STORED"}
    after = await log(api, finished)
    assert {entry["type"] for entry in after if entry["payloadState"] == "PURGED"} == ABOUT_AN_EXECUTION
    assert all(entry["payload"] is None for entry in after if entry["payloadState"] == "PURGED")
    kept = ("type", "message", "payloadBytes", "execution")
    assert [[entry[name] for name in kept] for entry in after] == [[entry[name] for name in kept] for entry in before]
