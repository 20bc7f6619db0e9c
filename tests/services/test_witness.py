"""A witness listens on every address of this machine, and nothing that a stranger writes makes the service call it.

In this process an audit hook sees every connection that is begun, wherever to; the sandbox's processes would have to
come by the listener. Agents may live at 127.0.0.2 alone, which stands for the public network.
"""

import asyncio
import contextlib
import re
import socket
import sys
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any

import pytest

from db import agents as agent_rows
from db.records import ExecutionOutcome, JsonValue
from services.guard import Guard
from services.guarded_http import CallError, GuardedHttp, Reach
from services.ports import ValidatorError, ValidatorTroubleKind
from services.validators.http import HttpValidator
from tests.agents import Response, ScriptedAgent
from tests.asks import RecordingAsk
from tests.services.conftest import ADMIN, House, OpenHouse
from tests.services.test_http_validator import SUBMISSION

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="macOS has 127.0.0.1 alone until 127.0.0.2 is added")

ALLOWED = (IPv4Network("127.0.0.2/32"),)

# None of these asks a name server, which would be a call to the outside by itself.
LOOPBACK = (
    "localhost",
    "LocalHost",
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.127.127.127",
    "0x7f000001",
    "0x7f.1",
    "0x7F.0x0.0x0.0x1",
    "0177.0.0.1",
    "017700000001",
    "2130706433",
    "0.0.0.0",  # noqa: S104 - reaches this very host
    "0",
    "00",
    "①②⑦.0.0.1",
    "１２７.0.0.1",  # noqa: RUF001 - the point of it
    "127。0。0。1",
    "127｡0｡0｡1",
    "ⓛocalhost",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:0.0.0.0]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[::ffff:0:127.0.0.1]",
    "8.8.8.8@127.0.0.1",
    "127.0.0.1%00",
    "[::1%25lo]",
)
ELSEWHERE = (
    "10.0.0.1",
    "172.31.255.254",
    "192.168.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.2.1",
    "198.18.0.1",
    "203.0.113.7",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "0xa000001",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[2001:db8::1]",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
)


@dataclass
class Witness:
    """What was called: `heard` counts connections that arrived, `begun` lists addresses that were called from here."""

    port: int
    heard: int = 0
    begun: list[str] = field(default_factory=list[str])

    @contextmanager
    def listens(self) -> Generator[None]:
        _listening.append(self)
        try:
            yield
        finally:
            _listening.remove(self)

    @property
    def outside(self) -> list[str]:
        return [address for address in self.begun if address != "127.0.0.2"]


_listening: list[Witness] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _listening and isinstance(arguments[1], tuple):
        for witness in _listening:
            witness.begun.append(str(arguments[1][0]))


@pytest.fixture(scope="module", autouse=True)
def _audited() -> None:
    # A hook cannot be taken away again; with nobody listening it costs nothing.
    sys.addaudithook(_audit)


@pytest.fixture
async def witness() -> AsyncGenerator[Witness]:
    servers: list[asyncio.Server] = []

    def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        one.heard += 1
        writer.close()

    # Not on 127.0.0.2, where the agents live.
    servers.append(await asyncio.start_server(connected, "127.0.0.1", 0))
    one = Witness(servers[0].sockets[0].getsockname()[1])
    if socket.has_ipv6:
        servers.append(await asyncio.start_server(connected, "::1", one.port))
    yield one
    for server in servers:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def public_agent(*responses: Response) -> AsyncGenerator[ScriptedAgent]:
    """An agent at 127.0.0.2, on a port of its own."""
    async with ScriptedAgent(*responses, host="127.0.0.2") as agent:
        yield agent


# What a resolver takes for this very machine without asking a server, and a kernel connects without a tunnel.
CARELESS = [host.strip("[]") for host in LOOPBACK if not re.search("[@%]|64:ff9b|200[12]:|::127|:0:127", host)]


async def test_the_witness_hears_those_who_check_nothing(witness: Witness) -> None:
    got_through = 0
    with witness.listens():
        for host in CARELESS:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(host, witness.port)
                got_through += 1
                writer.close()
                await writer.wait_closed()

    assert got_through >= 15
    assert witness.heard >= got_through - 1  # the last one may not have been taken yet
    assert len(witness.outside) >= got_through


@pytest.mark.parametrize("allowed", [(), ALLOWED], ids=["nothing allowed", "one address allowed"])
async def test_no_spelling_of_an_address_gets_through(witness: Witness, allowed: Sequence[IPv4Network]) -> None:
    guard = Guard(allowed)
    http = GuardedHttp(guard, "agent")
    with witness.listens():
        for host in LOOPBACK + ELSEWHERE:
            for scheme in ("http", "https"):
                url = f"{scheme}://{host}:{witness.port}/run"
                assert await guard.endpoint_problem(url) is not None, url
                with pytest.raises(CallError) as raised:
                    await http.post(url, "{}", {}, timeout_seconds=10)
                assert raised.value.reach is Reach.NOT_ALLOWED, url
        with pytest.raises(ValidatorError) as trouble:
            await HttpValidator(guard, f"http://127.0.0.1:{witness.port}/").validate(SUBMISSION, RecordingAsk())
    assert trouble.value.kind is ValidatorTroubleKind.CONFIG
    assert (witness.heard, witness.begun) == (0, [])


# ------------------------------------------------------------------------------------------------------- rebinding


def resolving(*answers: Sequence[str]) -> tuple[Guard, list[str]]:
    """A guard whose resolver gives these answers in turn, the last one for ever, and the names it was asked."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    return Guard(ALLOWED, resolve), asked


async def test_a_name_that_changes_its_mind_is_asked_once_a_call(witness: Witness) -> None:
    guard, asked = resolving(["127.0.0.2"], ["127.0.0.1"])
    async with public_agent() as agent:
        with witness.listens():
            answer = await GuardedHttp(guard, "agent").post(
                f"http://agent.example:{agent.port}/", "{}", {}, timeout_seconds=10
            )
            assert (answer.http_status, asked) == (200, ["agent.example"])
            with pytest.raises(CallError) as raised:
                await GuardedHttp(guard, "agent").post(
                    f"http://agent.example:{witness.port}/", "{}", {}, timeout_seconds=10
                )

    assert raised.value.reach is Reach.NOT_ALLOWED
    assert (witness.heard, witness.outside) == (0, [])


@pytest.mark.parametrize(
    "addresses", [["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "::1"], ["::ffff:127.0.0.2"]]
)
async def test_one_address_that_is_not_allowed_spoils_a_name(witness: Witness, addresses: Sequence[str]) -> None:
    guard, _ = resolving(addresses)
    with witness.listens(), pytest.raises(CallError) as raised:
        await GuardedHttp(guard, "agent").post(f"http://agent.example:{witness.port}/", "{}", {}, timeout_seconds=10)

    assert raised.value.reach is Reach.NOT_ALLOWED
    assert (witness.heard, witness.begun) == (0, [])


# ------------------------------------------------------------------------------------------------------ altogether


async def registered(house: House, url: str) -> str:
    agent = await house.agent("http://127.0.0.2:9/")
    # As if it had been registered while its name still led elsewhere, or before the operator took a network away.
    async with house.container.database.begin() as tx:
        await agent_rows.change(tx, agent.id, {"endpoint_url": url})
    return agent.id


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_neither_registration_nor_preview_nor_call_nor_schema_reaches_the_witness(
    open_house: OpenHouse, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = f"http://127.0.0.1:{witness.port}"
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, inside)
    redirects = [
        Response(status=status, headers={"location": f"{inside}/{status}", "refresh": f"0; url={inside}"})
        for status in (301, 302, 303, 307, 308)
    ]
    schemas: list[JsonValue] = [
        {"$ref": f"{inside}/schema.json"},
        {"$dynamicRef": f"{inside}/schema.json#x"},
        {"$schema": f"{inside}/meta.json"},
        {"$id": f"{inside}/", "$ref": "schema.json"},
        {"properties": {"a": {"allOf": [{"$ref": f"{inside}/schema.json"}]}}},
        {"$ref": "file:///etc/passwd"},
    ]
    async with open_house(allowed_networks=ALLOWED) as house, public_agent(*redirects) as agent:
        agents, executions = house.container.agents, house.container.executions
        known = await house.agent("http://127.0.0.2:9/")
        with witness.listens():
            for host in ("127.0.0.1", "localhost", "[::1]", "2130706433"):
                url = f"http://{host}:{witness.port}/"
                refused = await agents.update(ADMIN, known.id, {"endpoint_url": url})
                assert [error.path for error in refused.user_errors] == [("endpointUrl",)]
                (found,) = await agents.get_many([await registered(house, url)])
                job = await house.job(found)
                preview = await executions.preview(
                    ADMIN, job.id, endpoint_problem=agents.endpoint_problem, can_judge=True
                )
                assert preview is not None
                assert not preview.endpoint_allowed
                result = await house.execute(job)
                assert result.job is not None
                assert result.job.notice is not None
                assert result.job.notice.code is ExecutionOutcome.AGENT_FAILED
            for _ in redirects:
                job = await house.job(await house.agent(agent.url))
                await house.execute(job)
                assert "agent_response:error" in await house.entries(job)
            for schema in schemas:
                for name in ("input_schema", "output_schema"):
                    refused = await agents.update(ADMIN, known.id, {name: schema})
                    assert refused.user_errors, schema
                await house.container.sandbox.validate(schema, {"a": 1})  # as if it had been registered all the same
        assert len(agent.requests) == len(redirects)

    assert (witness.heard, witness.outside) == (0, [])
