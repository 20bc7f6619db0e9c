"""Many who press and many who follow, while servers and what they stand on come and go."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx

from db.records import Execution, ExecutionOutcome, Job, JobStatus
from tests.crash.harness import Stage
from tests.crash.server import ServerProcess

CHANGES = "subscription($after: String) { jobStatusChanged(after: $after) { cursor jobId toStatus } }"
PATIENCE = 60.0

Servers = Callable[[], Sequence[ServerProcess]]
"""Those that a load balancer would send somebody to just now."""


@dataclass
class Follower:
    """Follows every job's status from wherever it is served, and goes on after its last cursor elsewhere."""

    scene: Stage
    servers: Servers
    start: int
    cursor: str | None = None
    seen: dict[str, list[str]] = field(default_factory=dict)
    """Each job's statuses, in the order in which they came."""
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    connections: int = 0

    async def follow(self) -> None:
        while True:
            servers = self.servers()
            at = servers[(self.start + self.connections) % len(servers)]
            self.connections += 1
            with suppress(httpx.HTTPError):
                await self._listen(at)
            await asyncio.sleep(0.2)

    async def _listen(self, at: ServerProcess) -> None:
        headers = {"authorization": f"Bearer {self.scene.token}", "accept": "text/event-stream"}
        body = {"query": CHANGES, "variables": {"after": self.cursor}}
        # Heartbeats come more often than that: a server that is silent for so long has stopped.
        patience = httpx.Timeout(5, read=20)
        async with (
            httpx.AsyncClient(timeout=patience, trust_env=False) as client,
            client.stream("POST", f"{at.url}/graphql", json=body, headers=headers) as response,
        ):
            self.connected.set()
            async for line in response.aiter_lines():
                text = line.removeprefix("data:").strip()
                if not line.startswith("data:") or not text:
                    continue
                data = json.loads(text).get("data")
                if data is None:
                    return
                change = data["jobStatusChanged"]
                self.cursor = change["cursor"]
                self.seen.setdefault(change["jobId"], []).append(change["toStatus"])


@asynccontextmanager
async def following(scene: Stage, servers: Servers, count: int) -> AsyncGenerator[list[Follower]]:
    followers = [Follower(scene, servers, start) for start in range(count)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(follower.follow()) for follower in followers]
        await asyncio.gather(*(follower.connected.wait() for follower in followers))
        yield followers
        for task in tasks:
            task.cancel()


async def press(scene: Stage, servers: Servers, job: Job, dice: random.Random) -> None:
    """Press Execute as a careful client does: again with the same key until there is an answer."""
    headers = {"authorization": f"Bearer {scene.token}", "idempotency-key": f"press-{job.id}-{dice.random()}"}
    async with asyncio.timeout(PATIENCE):
        while True:
            at = dice.choice(servers())
            async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
                with suppress(httpx.TransportError):
                    url = f"{at.url}/api/jobs/{job.id}/execute"
                    answer = await client.post(url, headers=headers, json={"waitSeconds": 0})
                    if answer.status_code < 500:
                        assert answer.status_code in {200, 202}, answer.text
                        return
            await asyncio.sleep(0.2)


async def all_completed(scene: Stage, servers: Servers, jobs: Sequence[Job], dice: random.Random) -> list[Execution]:
    """Wait until every job has come to its end, as people do: press again where nobody knows what the agent did."""

    async def one(job: Job) -> Execution:
        while True:
            found, execution = await scene.settled(job, PATIENCE)
            if found.status is JobStatus.COMPLETED:
                assert execution is not None
                return execution
            outcome = None if execution is None else execution.outcome
            assert outcome is ExecutionOutcome.AGENT_OUTCOME_UNKNOWN, (found.status, found.notice, execution)
            await press(scene, servers, job, dice)

    return [await one(job) for job in jobs]


async def all_seen(followers: Sequence[Follower], jobs: Sequence[Job]) -> None:
    """Wait until every follower has seen every job's end."""
    async with asyncio.timeout(PATIENCE):
        for follower in followers:
            for job in jobs:
                while follower.seen.get(job.id, [""])[-1] != "COMPLETED":  # noqa: ASYNC110 - lists that grow
                    await asyncio.sleep(0.05)
