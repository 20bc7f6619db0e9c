"""The commands, as processes: what they print, how they end, and that a server drains."""

import asyncio
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from app.auth import Tokens
from app.cli import main
from db.records import Role
from tests.agents import Response, ScriptedAgent
from tests.app.conftest import CREATE_AGENT, CREATE_JOB, PASSES
from tests.judge_server import judge_server

ROOT = Path(__file__).resolve().parents[2]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SIGNOFF_", "OPENAI_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error::ResourceWarning", **more}


def signoff(*arguments: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment(**more), capture_output=True, text=True, check=False, timeout=60
    )


# ------------------------------------------------------------------------------------------------- small commands


def test_a_token_is_alone_on_the_last_line(tmp_path: Path) -> None:
    made = signoff("token", "--subject", "ines", "--role", "client", cwd=tmp_path)

    assert made.returncode == 0, made.stderr
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+", made.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("arguments", "variables", "status", "says"),
    [
        (("serve",), {"SIGNOFF_LEASE_SECONDS": "soon"}, 2, "SIGNOFF_LEASE_SECONDS: "),
        (("serve",), {"OPENAI_API_KEY": "sk-with\nline"}, 2, "OPENAI_API_KEY: "),
        (("serve", "--host", "0.0.0.0"), {}, 2, "SIGNOFF_SECRET_KEY: needed"),  # noqa: S104
        (("worker",), {"SIGNOFF_RUNNER": "threads"}, 2, "'in_process' or 'temporal'"),
        (("serve",), {"SIGNOFF_DATABASE_URL": "sqlite+aiosqlite:///no/where.db"}, 2, "there is no directory no"),
        (("migrate",), {"SIGNOFF_DATABASE_URL": "sqlite+aiosqlite:///no/where.db"}, 1, "unable to open database"),
        (("migrate",), {"SIGNOFF_DATABASE_URL": "sqlite+aiosqlite:///no/where.db?a=b"}, 1, "/no/where.db cannot"),
        (("token", "--subject", "ines", "--role", "boss"), {}, 2, "--role"),
        (("purge", "--older-than", "old"), {}, 2, "no duration"),
        (("nonsense",), {}, 2, "nonsense"),
    ],
)
# It is the command line of a program: here that of this test, which spares it a process.
@pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens")
def test_what_cannot_be_done_is_said_in_a_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    variables: Mapping[str, str],
    status: int,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in os.environ.keys() - environment().keys():
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["signoff", *arguments])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == status
    said = capsys.readouterr().err.splitlines()
    assert says in said[0]
    assert all(line.startswith("signoff: ") for line in said)
    assert len(said) <= 2


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        done = signoff("serve", "--port", str(taken.getsockname()[1]), cwd=tmp_path)

    assert done.returncode == 1
    assert "in use" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_demo_goes_the_whole_way_and_leaves_nothing_behind(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()

    done = signoff("demo", "--once", cwd=tmp_path, TMPDIR=str(temporary), PYTHONIOENCODING="ascii")

    assert (done.returncode, done.stderr) == (0, "")
    told = [line.strip() for line in done.stdout.splitlines()]
    first, second = told.index("Re-submission Required"), told.index("Completed")
    assert first < second
    assert "Failed: The three phone numbers from the signatures are there" in told[first:second]
    assert any("+44 7700 900123" in line for line in told[second:])
    for kind in ("agent request", "agent response", "validator request", "validator response", "status change"):
        assert kind in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert [line for line in done.stdout.splitlines() if line != line.rstrip()] == []
    assert list(temporary.iterdir()) == []
    assert [file.name for file in tmp_path.iterdir()] == ["temporary"]


async def test_with_a_key_the_demo_has_one_criterion_judged(tmp_path: Path) -> None:
    async with judge_server() as judge:
        variables = {"OPENAI_API_KEY": "sk-of-the-tests", "OPENAI_BASE_URL": judge.url}
        done = await asyncio.to_thread(signoff, "demo", "--once", cwd=tmp_path, **variables)

    assert done.returncode == 0, done.stdout
    assert "Asked the validator 'openai'" in done.stdout
    assert "sk-of-the-tests" not in done.stdout + done.stderr


def test_the_demo_says_that_its_port_is_taken(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        done = signoff("demo", "--once", "--port", str(port), cwd=tmp_path)

    assert done.returncode == 1
    assert f"port {port} cannot be listened on: Address already in use" in done.stderr


# ---------------------------------------------------------------------------------------------------- the server

EXECUTE = "mutation ($input: ExecuteJobInput!) { executeJob(input: $input) { job { status } userErrors { code } } }"


class Served:
    """A server process."""

    def __init__(self, process: subprocess.Popen[str], url: str, cwd: Path, before: list[str]) -> None:
        self.process = process
        self.url = url
        self.before = before
        """What it said before it served."""
        key = SecretStr((cwd / "signoff.db.key").read_text().strip())
        self.headers = {"authorization": f"Bearer {Tokens.of([key]).issue('ada', Role.ADMIN)}"}

    async def ask(self, http: httpx.AsyncClient, query: str, **variables: Any) -> Any:
        body = {"query": query, "variables": variables}
        answer = await http.post(f"{self.url}/graphql", json=body, headers=self.headers)
        return answer.json()["data"]

    async def job(self, http: httpx.AsyncClient, agent_url: str) -> str:
        agent = await self.ask(http, CREATE_AGENT, input={"name": "An agent", "endpointUrl": agent_url})
        agent_id = agent["createAgent"]["agent"]["id"]
        draft = {"title": "A job", "acceptanceCriteria": PASSES, "agentId": agent_id}
        job = await self.ask(http, CREATE_JOB, input=draft)
        return str(job["createJob"]["job"]["id"])

    def end(self) -> float:
        """Send SIGTERM, wait for the end, and say how long it took."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        return time.monotonic() - started

    def said(self) -> str:
        """What it has logged until its end."""
        assert self.process.stderr is not None
        return self.process.stderr.read()


@contextmanager
def served(cwd: Path, **more: str) -> Generator[Served]:
    variables = {"SIGNOFF_ALLOWED_AGENT_NETWORKS": "127.0.0.0/8", **more}
    command = [sys.executable, "-m", "app", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=cwd, env=environment(**variables), stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            before: list[str] = []
            while "Signoff serves at" not in (line := process.stderr.readline()):
                assert line, "the server ended"
                before.append(line.rstrip())
            yield Served(process, line.split("serves at ")[1].split("/graphql")[0], cwd, before)
        finally:
            process.kill()


async def called(agent: ScriptedAgent, times: int = 1) -> None:
    """Wait until an agent has been sent something."""
    async with asyncio.timeout(20):
        while len(agent.requests) < times:  # noqa: ASYNC110 - it is a list that grows
            await asyncio.sleep(0.02)


# Starts a service, and tells which of the libraries it has loaded that not every one needs.
LOADED = """
import asyncio, sys
from app.asgi import create_app
from app.settings import load

async def start():
    app = create_app(load())
    async with app.router.lifespan_context(app):
        print(*sorted({"openai", "temporalio"} & sys.modules.keys()))

asyncio.run(start())
"""


@pytest.mark.parametrize(
    ("variables", "loaded"),
    [
        ({}, ""),
        ({"OPENAI_API_KEY": "sk-of-the-tests"}, "openai"),
        ({"SIGNOFF_RUNNER": "temporal", "SIGNOFF_TEMPORAL_ADDRESS": "127.0.0.1:9"}, "temporalio"),
    ],
)
def test_what_is_not_chosen_is_not_loaded_and_what_is_before_the_first_request(
    tmp_path: Path, variables: Mapping[str, str], loaded: str
) -> None:
    command = [sys.executable, "-c", LOADED]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(**variables), capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == loaded


def test_a_server_says_what_whoever_starts_it_first_does_not_see(tmp_path: Path) -> None:
    with served(tmp_path, SIGNOFF_LEASE_SECOND="5", SIGNOFF_COMMAND_DIRECTORY="a plug-in's") as server:
        server.end()
        said = server.said()

    assert f"The pages: {server.url}/ " in said
    assert "OPENAI_API_KEY is not set" in said
    assert server.before == ["signoff: SIGNOFF_LEASE_SECOND is no setting: is SIGNOFF_LEASE_SECONDS meant?"]


def test_sigterm_ends_an_idle_server_at_once_and_with_0(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        took = server.end()

    assert server.process.returncode == 0
    assert took < 5


async def test_sigterm_lets_what_is_in_flight_finish(tmp_path: Path) -> None:
    go = asyncio.Event()
    async with ScriptedAgent(Response(after=go)) as agent, httpx.AsyncClient(timeout=30) as http:
        with served(tmp_path) as server:
            job_id = await server.job(http, agent.url)
            execute = asyncio.create_task(http.post(f"{server.url}/api/jobs/{job_id}/execute", headers=server.headers))
            await called(agent)

            server.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                while (ready := await http.get(f"{server.url}/readyz")).status_code != 503:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            go.set()
            answer = await execute
            await asyncio.to_thread(server.process.wait, 30)

    assert ready.json()["checks"] == {"draining": "yes", "validator": "ok"}
    assert (answer.status_code, answer.json()["status"]) == (200, "COMPLETED")
    assert server.process.returncode == 0


async def test_what_does_not_finish_in_time_is_left_to_another(tmp_path: Path) -> None:
    async with ScriptedAgent(Response(hangs=True)) as agent, httpx.AsyncClient(timeout=30) as http:
        with served(tmp_path, SIGNOFF_DRAIN_SECONDS="1") as server:
            job_id = await server.job(http, agent.url)
            await http.post(
                f"{server.url}/api/jobs/{job_id}/execute", content=b'{"waitSeconds": 0}', headers=server.headers
            )
            await called(agent)
            took = await asyncio.to_thread(server.end)

    assert server.process.returncode == 0
    # The agent would have kept it for its whole time-out, a minute.
    assert 1 <= took < 30
    with closing(sqlite3.connect(tmp_path / "signoff.db")) as connection:
        (state, owner) = connection.execute("SELECT state, lease_owner FROM executions").fetchone()
    assert (state, owner) == ("calling_agent", None)


async def test_whoever_waits_for_what_does_not_finish_in_time_is_told_how_it_stands(tmp_path: Path) -> None:
    async with ScriptedAgent(Response(hangs=True)) as agent, httpx.AsyncClient(timeout=30) as http:
        with served(tmp_path, SIGNOFF_DRAIN_SECONDS="1") as server:
            one, other = await server.job(http, agent.url), await server.job(http, agent.url)
            rest = asyncio.create_task(http.post(f"{server.url}/api/jobs/{one}/execute", headers=server.headers))
            graphql = asyncio.create_task(server.ask(http, EXECUTE, input={"jobId": other, "waitSeconds": 60}))
            await called(agent, 2)
            await asyncio.to_thread(server.end)
            by_rest, by_graphql = await rest, await graphql
            said = server.said()

    assert (by_rest.status_code, by_rest.json()["status"]) == (202, "IN_EXECUTION")
    assert by_graphql == {"executeJob": {"job": {"status": "IN_EXECUTION"}, "userErrors": []}}
    assert "Traceback" not in said


async def test_a_second_signal_leaves_what_is_in_flight_to_another_at_once(tmp_path: Path) -> None:
    async with ScriptedAgent(Response(hangs=True)) as agent, httpx.AsyncClient(timeout=30) as http:
        with served(tmp_path, SIGNOFF_DRAIN_SECONDS="60") as server:
            job_id = await server.job(http, agent.url)
            execute = asyncio.create_task(server.ask(http, EXECUTE, input={"jobId": job_id, "waitSeconds": 60}))
            await called(agent)
            server.process.send_signal(signal.SIGINT)
            await asyncio.sleep(0.2)
            assert server.process.poll() is None
            server.process.send_signal(signal.SIGINT)
            await asyncio.to_thread(server.process.wait, 30)
            assert (await execute)["executeJob"]["job"]["status"] == "IN_EXECUTION"
            said = server.said()

    assert server.process.returncode == 0
    assert "Traceback" not in said
    with closing(sqlite3.connect(tmp_path / "signoff.db")) as connection:
        (owner,) = connection.execute("SELECT lease_owner FROM executions").fetchone()
    assert owner is None


@asynccontextmanager
async def following(server: Served, **headers: str) -> AsyncGenerator[Any]:
    url = f"ws{server.url.removeprefix('http')}/graphql"
    protocol = Subprotocol("graphql-transport-ws")
    async with connect(url, subprotocols=[protocol], additional_headers=headers) as websocket:
        await websocket.send(json.dumps({"type": "connection_init", "payload": server.headers}))
        assert json.loads(await websocket.recv())["type"] == "connection_ack"
        yield websocket


async def test_a_listener_is_told_1012_on_the_way_out(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        async with following(server) as websocket:
            subscription = {"query": "subscription { jobStatusChanged { toStatus } }"}
            await websocket.send(json.dumps({"id": "1", "type": "subscribe", "payload": subscription}))
            await asyncio.sleep(0.2)
            ended = asyncio.create_task(asyncio.to_thread(server.end))
            with pytest.raises(ConnectionClosed) as closed:
                await websocket.recv()
            took = await ended

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    # Nothing was in flight: it did not use the 20 seconds that it has for that.
    assert took < 20
    assert server.process.returncode == 0


async def test_a_foreign_pages_websocket_is_403(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        with pytest.raises(InvalidStatus) as refused:
            async with following(server, origin="https://evil.test"):
                pass
        async with following(server, origin=server.url):
            pass

    assert refused.value.response.status_code == 403


async def test_two_servers_on_one_database_start_together(tmp_path: Path) -> None:
    with served(tmp_path) as one, served(tmp_path) as other:
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"{one.url}/readyz")).status_code == 200
            assert (await http.get(f"{other.url}/readyz")).status_code == 200
