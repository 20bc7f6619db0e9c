"""The stage of the crash tests: real servers, an agent and a judge as separate processes, and what must hold after."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import httpx
from sqlalchemy import text

from app.auth import Tokens
from app.container import Container, Wiring, open_container
from app.secrets import StoredSecrets, secret_keys
from app.settings import load
from db.records import Agent, Execution, ExecutionOutcome, Job, JobStatus, Role
from services.agents import AgentDraft
from services.inputs import CriterionDraft
from services.jobs import JobDraft
from services.viewer import Viewer
from tests.agents import LOOPBACK
from tests.crash import server
from tests.crash.server import ServerProcess
from tests.invariants import violations

ADMIN = Viewer("ada", "Ada", Role.ADMIN)
LEASE_SECONDS = 3.0
# Of a server that is there to finish what another left: no stall of the machine takes from it what it took over.
SURVIVOR_LEASE_SECONDS = 20.0
# Beyond the lease: finding the execution, and finishing it, on a machine that has much else to do.
RECOVERY_SECONDS = LEASE_SECONDS + 57
CRITERIA = (
    CriterionDraft("It is ok.", expression="answer.ok == true"),
    CriterionDraft('It says "polite".'),
)


@dataclass
class Stage:
    """One database, one agent, one judge, and servers that come and go."""

    directory: Path
    environment: Mapping[str, str]
    container: Container
    agent_url: str
    agent_log: Path
    token: str
    mutant: str | None = None
    servers: list[ServerProcess] = field(default_factory=list)
    recovery_seconds: list[float] = field(default_factory=list)
    _started: int = 0

    async def server(
        self,
        *,
        failpoint: str | None = None,
        after: str | None = None,
        how: signal.Signals = signal.SIGKILL,
        record: Path | None = None,
        lease_seconds: float | None = None,
        works: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> ServerProcess:
        """Start a server (or, if it `works`, a worker), with the stage's mutant if it has one.

        Its lease is the stage's unless another is given; `settings` are variables on top.
        """
        self._started += 1
        log = self.directory / f"server-{self._started}.log"
        lease = {} if lease_seconds is None else {"SIGNOFF_LEASE_SECONDS": str(lease_seconds)}
        started = await asyncio.to_thread(
            server.start,
            {**self.environment, **lease, **(settings or {})},
            log,
            failpoint=failpoint,
            after=after,
            how=how,
            record=record,
            mutant=self.mutant,
            works=works,
        )
        self.servers.append(started)
        return started

    async def survivor(self) -> ServerProcess:
        """Start a server that finishes what others leave."""
        return await self.server(lease_seconds=SURVIVOR_LEASE_SECONDS)

    async def agent(self, path: str = "", **fields: object) -> Agent:
        draft = AgentDraft("An agent", self.agent_url + path, max_concurrent_executions=1000, **fields)  # type: ignore[arg-type]
        made = await self.container.agents.create(ADMIN, draft)
        assert made.agent is not None, made.user_errors
        return made.agent

    async def job(self, agent: Agent, *, judged: bool = True) -> Job:
        criteria = CRITERIA if judged else CRITERIA[:1]
        made = await self.container.jobs.create(ADMIN, JobDraft("A job", criteria, agent_id=agent.id))
        assert made.job is not None, made.user_errors
        return made.job

    async def press(
        self, at: ServerProcess, job: Job, *, wait_seconds: float = RECOVERY_SECONDS
    ) -> httpx.Response | None:
        """Press Execute over REST; None where the server ended before it answered."""
        async with httpx.AsyncClient(timeout=wait_seconds + 20, trust_env=False) as client:
            with suppress(httpx.TransportError):
                return await client.post(
                    f"{at.url}/api/jobs/{job.id}/execute",
                    headers={"authorization": f"Bearer {self.token}"},
                    json={"waitSeconds": wait_seconds},
                )
        return None

    async def look(self, job: Job) -> tuple[Job, Execution | None]:
        found = await self.container.jobs.get(ADMIN, job.id)
        assert found is not None
        if found.latest_execution_id is None:
            return found, None
        (execution,) = await self.container.executions.get_many(ADMIN, [found.latest_execution_id])
        return found, execution

    async def settled(self, job: Job, within_seconds: float = RECOVERY_SECONDS) -> tuple[Job, Execution | None]:
        """Wait until the job is not in execution; what takes longer is stuck. Counts as a recovery."""
        started = time.monotonic()
        while True:
            found, execution = await self.look(job)
            if found.status is not JobStatus.IN_EXECUTION:
                self.recovery_seconds.append(time.monotonic() - started)
                return found, execution
            if time.monotonic() - started > within_seconds:
                raise AssertionError(f"{job.id} is still in execution after {within_seconds} s: {execution}")
            await asyncio.sleep(0.05)

    def sent(self) -> Counter[tuple[str, str]]:
        """What the agent saw: (job, key) -> times."""
        if not self.agent_log.exists():
            return Counter()
        lines = [json.loads(line) for line in self.agent_log.read_text().splitlines()]
        return Counter((line["job_id"], line["key"]) for line in lines)

    async def problems(self, *, database_was_away: bool = False) -> list[str]:
        """Everything that does not hold: in the database, against the witness, and in the servers' logs.

        Where the database was away the logs do have traces of it.
        """
        async with self.container.database.read() as tx:
            found = await violations(tx)
            rows = await tx.connection.execute(
                text(
                    "SELECT job_id, idempotency_key, sum(agent_tries) FROM executions GROUP BY job_id, idempotency_key"
                )
            )
            logged = {(row[0], row[1]): int(row[2]) for row in rows}
            unknown = (
                await tx.connection.execute(
                    text("""
                    SELECT b.id FROM executions a JOIN executions b ON b.job_id = a.job_id AND b.number = a.number + 1
                    WHERE a.outcome = 'agent_outcome_unknown' AND a.job_revision = b.job_revision
                      AND a.agent_id = b.agent_id AND a.idempotency_key <> b.idempotency_key
                    """)
                )
            ).all()
            found += [f"the key is used again after no answer: {row[0]}" for row in unknown]
            repeated = await tx.connection.execute(text("SELECT id FROM executions WHERE agent_tries > 1"))
            found += [f"sent twice by itself: {row[0]}" for row in repeated]
        for (job_id, key), times in self.sent().items():
            if times > logged.get((job_id, key), 0):
                found.append(
                    f"sent without a request entry: {job_id}: {times} times, {logged.get((job_id, key), 0)} logged"
                )
        for process in () if database_was_away else self.servers:
            if "Traceback" in process.log.read_text():
                found.append(f"a stack trace in {process.log.name}: {process.log.read_text()[-1500:]}")
        return found

    def strike(self, *, keep: tuple[ServerProcess, ...] = ()) -> None:
        """End every server that still runs."""
        for process in self.servers:
            if process not in keep:
                process.kill(signal.SIGCONT)
                process.kill()
                process.process.join(10)


@asynccontextmanager
async def stage(
    database_url: str, directory: Path, *, mutant: str | None = None, lease_seconds: float = LEASE_SECONDS
) -> AsyncGenerator[Stage]:
    """Set the stage on a migrated database; its processes end with it."""
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - a test
    agent_log = directory / "agent.jsonl"
    async with AsyncExitStack() as stack:
        agent_port = await stack.enter_async_context(_process("tests.crash.agent", "--log", str(agent_log)))
        judge_url = await stack.enter_async_context(
            _process("tests.judge_server", "--log", str(directory / "judge.jsonl"), "--port", "0")
        )
        environment = {
            "SIGNOFF_DATABASE_URL": database_url,
            "SIGNOFF_SECRET_KEY": "a-key-for-tests-that-is-long-enough-0123456789",
            "SIGNOFF_ALLOWED_AGENT_NETWORKS": "127.0.0.0/8",
            "SIGNOFF_LEASE_SECONDS": str(lease_seconds),
            "SIGNOFF_DRAIN_SECONDS": "5",
            "OPENAI_API_KEY": "sk-of-the-tests",
            "OPENAI_BASE_URL": judge_url,
            "NO_PROXY": "*",
        }
        with patch.dict(os.environ, environment):
            settings = load("127.0.0.1")
        keys = secret_keys(settings)
        # Creates and reads; with no room for executions it runs none.
        wiring = Wiring(
            database_url,
            StoredSecrets.of(keys),
            allowed_networks=LOOPBACK,
            executions_in_flight=0,
            openai_api_key=None,
        )
        container = await stack.enter_async_context(open_container(wiring))
        token = Tokens.of(keys).issue(ADMIN.id, ADMIN.role, name=ADMIN.name, ttl_seconds=3600)
        set_ = Stage(directory, environment, container, f"http://127.0.0.1:{agent_port}/", agent_log, token, mutant)
        try:
            yield set_
        finally:
            set_.strike()


@asynccontextmanager
async def stages(database_urls: Sequence[str], directory: Path) -> AsyncGenerator[list[Stage]]:
    """Set several stages that know nothing of each other: most of the time, each waits for a lease to expire."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(stage(url, directory / str(number)))
            for number, url in enumerate(database_urls)
        ]


@asynccontextmanager
async def _process(module: str, *arguments: str) -> AsyncGenerator[str]:
    """Run a module of the tests as a process; yields the line that it prints once it listens."""
    command = [sys.executable, "-m", module, *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def finish(stage_: Stage, survivor: ServerProcess, job: Job) -> tuple[Job, Execution | None]:
    """What a person does after a crash: look, and press again where it did not end well."""
    found, execution = await stage_.settled(job)
    if found.status is JobStatus.ASSIGNED:
        assert execution is None or execution.outcome is ExecutionOutcome.AGENT_OUTCOME_UNKNOWN, execution
        answer = await stage_.press(survivor, job)
        assert answer is not None
        assert answer.status_code == 200, answer.text
        found, execution = await stage_.settled(job)
    return found, execution
