"""A whole service in this process, on a real database, with agents on loopback."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.container import Container, Wiring, open_container
from db import jobs as job_rows
from db.records import WHOLE_ENTRY, Agent, Job, JobLog, JobLogFilter, JobLogType, JsonValue, LogEntry, Page, Role
from services.agents import AgentDraft
from services.executions.requests import Execute, ExecuteResult
from services.executions.validation import RetryPolicy
from services.inputs import CriterionDraft
from services.jobs import JobDraft
from services.tail import Tail
from services.viewer import Viewer
from tests.agents import LOOPBACK
from tests.invariants import violations

ADMIN = Viewer("ada", "Ada", Role.ADMIN)
CLIENT = Viewer("carl", "Carl", Role.CLIENT)
STRANGER = Viewer("stan", "Stan", Role.CLIENT)

IS_OK = CriterionDraft("The answer says that it is ok.", expression="answer.ok == true")
NEEDS_JUDGEMENT = CriterionDraft("The answer is polite.")


class PlainSecrets:
    """Keeps credentials readable, marked so that a test sees what was stored."""

    def encrypt(self, credential: str) -> str:
        return f"sealed:{credential}"

    def decrypt(self, stored: str) -> str:
        if not stored.startswith("sealed:"):
            raise ValueError("unreadable")
        return stored.removeprefix("sealed:")


# Fast, so that a test sees several tries; the shape is the real policy's.
QUICK_RETRIES = RetryPolicy(deadline_seconds=60, first_seconds=0.05, longest_seconds=0.2, slow_seconds=0.1)


@dataclass
class House:
    """A running service and shorthands for what most tests do with it."""

    container: Container

    async def agent(self, url: str, **fields: Any) -> Agent:
        result = await self.container.agents.create(ADMIN, AgentDraft("An agent", url, **fields))
        assert result.agent is not None, result.user_errors
        return result.agent

    async def job(
        self,
        agent: Agent | None,
        *criteria: CriterionDraft,
        viewer: Viewer = CLIENT,
        input: JsonValue = None,  # noqa: A002 - the record's own word
    ) -> Job:
        draft = JobDraft("A job", criteria or (IS_OK,), input=input, agent_id=agent.id if agent else None)
        result = await self.container.jobs.create(viewer, draft)
        assert result.job is not None, result.user_errors
        return result.job

    async def execute(self, job: Job, viewer: Viewer = CLIENT, **fields: Any) -> ExecuteResult:
        command = replace(Execute(job.id, wait_seconds=20), **fields)
        return await self.container.executions.execute(viewer, command)

    async def log(self, job: Job) -> Sequence[JobLog]:
        (page,) = await self.container.logs.of_jobs(ADMIN, [job.id], JobLogFilter(), Page(100), WHOLE_ENTRY)
        return page.rows

    async def append(self, job_id: str, count: int) -> None:
        """Append so many entries to a job's log, in one commit."""
        async with self.container.database.begin() as tx:
            job = await job_rows.lock(tx, job_id)
            assert job is not None
            for _ in range(count):
                await self.container.journal.append(tx, job, LogEntry(type=JobLogType.JOB_EDIT, message="Edited"))

    async def entries(self, job: Job) -> list[str]:
        """The log as one word an entry: type, and status where it is not OK."""
        return [
            entry.type.value + ("" if entry.status == "ok" else f":{entry.status.value}")
            for entry in await self.log(job)
        ]

    async def until_they_wait(self, count: int) -> None:
        """Wait until so many followers have taken all that there is: what comes from now on is told to each."""
        tails = self.container.feed._tails  # noqa: SLF001 - nobody else has to know
        async with asyncio.timeout(20):
            while sum(map(waiting, tails.values())) < count:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.001)

    async def violations(self) -> list[str]:
        async with self.container.database.read() as tx:
            return await violations(tx)


def waiting(tail: Tail) -> int:
    return sum(not one.done() for one in tail._waiting)  # noqa: SLF001


OpenHouse = Callable[..., AbstractAsyncContextManager[House]]


@pytest.fixture
def open_house(database_url: str) -> OpenHouse:
    """Open a service on the test's database; fields of Wiring may be given."""
    wiring = Wiring(
        database_url,
        PlainSecrets(),
        allowed_networks=LOOPBACK,
        retry=QUICK_RETRIES,
        drain_seconds=1,
        feed_poll_seconds=0.2,
    )

    @asynccontextmanager
    async def opened(**fields: Any) -> AsyncGenerator[House]:
        async with open_container(replace(wiring, **fields)) as container:
            yield House(container)

    return opened


@pytest.fixture
async def house(open_house: OpenHouse) -> AsyncGenerator[House]:
    async with open_house() as house:
        yield house
        assert await house.violations() == []


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for agent.example and 127.0.0.1, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "agent.example")])
    names = [x509.DNSName("agent.example"), x509.IPAddress(IPv4Address("127.0.0.1"))]
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "agent.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path
