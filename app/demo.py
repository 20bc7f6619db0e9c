"""The demo: the real server on a database of its own, real agents on loopback, one job before your eyes.

It goes through the API like anybody else: GraphQL over HTTP to act, a subscription over WebSocket to follow the log.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import shlex
import sys
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import httpx
from pydantic import SecretStr
from rich.console import Console
from rich.text import Text
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from app import serving
from app.asgi import create_app
from app.auth import Tokens
from app.demo_agents.server import DemoAgent, agents_served
from app.demo_jobs import JUDGED_CRITERION, OTHER_JOBS, SHOWN_JOB
from app.login import PERSON_SECONDS, Person
from app.secrets import secret_keys
from app.settings import LOOPBACK, SQLITE, Settings, read
from db.records import JobStatus, Role

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator
    from io import TextIOWrapper

USUAL_PORT = 8000
# Whom one click signs in.
PEOPLE = (Person("ines", "Inês", Role.CLIENT), Person("ada", "Ada", Role.ADMIN))
# Longer than every agent's time-out here: the outcome is known when the call comes back.
WAIT_SECONDS = 60
LATE_SECONDS = 5
# A model that is not there is not worth more of a demo's time.
VALIDATOR_SECONDS = 15
# A second try brings the one thing that the first left out.
LARGEST_TRIES = 3
WIDEST = 80

CREATE_AGENT = """mutation($input: CreateAgentInput!) {
  createAgent(input: $input) { agent { id } userErrors { message } } }"""
CREATE_JOB = """mutation($input: CreateJobInput!) {
  createJob(input: $input) { job { id } userErrors { message } } }"""
EXECUTE = """mutation($input: ExecuteJobInput!) {
  executeJob(input: $input) {
    job { status result notice { message failedCriteria { criterion { text } rationale } } }
    userErrors { message } } }"""
LAST_ENTRY = """query($id: ID!) { job(id: $id) { logs(last: 1) { edges { cursor } } } }"""
FOLLOW = """subscription($id: ID!, $after: String) { jobLogAppended(jobId: $id, after: $after) {
  cursor log { type status message timestamp durationMs fromStatus toStatus } } }"""


class DemoError(Exception):
    """The demo cannot go on; the message is one line."""


# ----------------------------------------------------------------------------------------------------- the people


@dataclass(frozen=True)
class Api:
    """The service as one person calls it."""

    url: str
    person: Person
    token: str
    http: httpx.AsyncClient

    async def ask(self, document: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Run an operation. Raises DemoError where it is refused."""
        response = await self.http.post(
            f"{self.url}/graphql",
            json={"query": document, "variables": variables},
            headers={"authorization": f"Bearer {self.token}"},
        )
        answer = response.json()
        if answer.get("errors"):
            raise DemoError(answer["errors"][0]["message"])
        data: dict[str, dict[str, Any] | None] = answer["data"]
        for payload in data.values():
            if payload and payload.get("userErrors"):
                raise DemoError(payload["userErrors"][0]["message"])
        return data

    async def follow(self, job_id: str, after: str | None) -> AsyncGenerator[dict[str, Any]]:
        """Yield each entry of a job's log after a cursor as it is committed."""
        address = f"ws{self.url.removeprefix('http')}/graphql"
        async with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
            init = {"type": "connection_init", "payload": {"authorization": f"Bearer {self.token}"}}
            await socket.send(json.dumps(init))
            await socket.recv()
            payload = {"query": FOLLOW, "variables": {"id": job_id, "after": after}}
            await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
            async for frame in socket:
                message = json.loads(frame)
                if message["type"] == "next" and not message["payload"].get("errors"):
                    yield message["payload"]["data"]["jobLogAppended"]["log"]
                elif message["type"] != "ping":
                    raise DemoError(f"the log cannot be followed: {frame!s:.200}")


# ------------------------------------------------------------------------------------------------------ the screen


@dataclass(frozen=True)
class Screen:
    """What is shown: calm at 80 columns, plain where it is piped."""

    console: Console

    def title(self, text: str) -> None:
        """Begin a part."""
        self.console.print()
        self.console.print(Text(text, style="bold"))

    def line(self, text: str, style: str = "") -> None:
        """Show a sentence, wrapped at words, indented."""
        for part in Text(text).wrap(self.console, self.console.width - 2):
            self.console.print(Text("  ") + Text(part.plain.rstrip(), style=style))

    def verbatim(self, text: str) -> None:
        """Show what is to be copied: not wrapped, whatever the width."""
        self.console.print(Text(text), soft_wrap=True)

    def columns(self, cells: list[tuple[str, int, str]], last: str, style: str = "") -> None:
        """Show cells (text, width, style), then a text that is wrapped beside them."""
        indent = 2 + sum(width + 2 for _, width, _ in cells)
        head = Text("  ")
        for text, width, cell_style in cells:
            head.append(text, cell_style).append(" " * max(2, width + 2 - len(text)))
        for part in Text(last).wrap(self.console, max(20, self.console.width - indent)):
            self.console.print(head + Text(part.plain.rstrip(), style=style))
            head = Text(" " * indent)

    def pairs(self, rows: list[tuple[str, str]]) -> None:
        """Show names and what they stand for."""
        width = max(len(name) for name, _ in rows)
        for name, text in rows:
            self.columns([(name, width, "cyan")], text)

    def entry(self, log: dict[str, Any]) -> None:
        """Show a log entry."""
        message = log["message"]
        if log["toStatus"]:
            message = f"{log['fromStatus'] or '(none)'} -> {log['toStatus']}\n{message}"
        kind = log["type"].lower().replace("_", " ")
        style = {"OK": "", "ERROR": "red"}.get(log["status"], "yellow")
        self.columns([(log["timestamp"][11:23], 12, "dim"), (kind, 18, "cyan")], message, style)


class _Terminal(Console):
    def on_broken_pipe(self) -> None:
        """Go on without an audience: the exit status still says how it went."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def screen() -> Screen:
    """A console as wide as the terminal, but not wider than lines are easily read."""
    # A terminal that cannot show a letter shows a question mark.
    cast("TextIOWrapper", sys.stdout).reconfigure(errors="replace")
    console = _Terminal(highlight=False)
    console.width = min(console.width, WIDEST) if console.is_terminal else WIDEST
    return Screen(console)


# ------------------------------------------------------------------------------------------------------- the demo


@dataclass(frozen=True)
class Demo:
    """A service that runs, its people, and the screen."""

    screen: Screen
    client: Api
    admin: Api
    can_judge: bool

    async def run(self, agents: list[DemoAgent], *, stays: bool) -> bool:
        """Show one job, from Execute to its result; True where it was completed."""
        agent_ids = await self.register(agents)
        job = dict(SHOWN_JOB)
        if self.can_judge:
            job["acceptanceCriteria"] = [*job["acceptanceCriteria"], JUDGED_CRITERION]
        job_id = await self.create(job, agent_ids[agents[0].name])
        self.introduce(job, agents[0])
        completed = False
        for number in range(1, LARGEST_TRIES + 1):
            completed, mendable = await self.attempt(job_id, number)
            if completed or not mendable:
                break
        if not completed:
            self.screen.title("It was not completed.")
        assigned_id = await self.seed(agent_ids)
        if stays:
            self.show_ways_in(job_id, assigned_id)
        return completed

    async def register(self, agents: list[DemoAgent]) -> dict[str, str]:
        """Register the agents, as an admin does."""
        registered: dict[str, str] = {}
        for agent in agents:
            draft = {
                "name": agent.name,
                "endpointUrl": agent.url,
                "inputSchema": agent.input_schema,
                "outputSchema": agent.output_schema,
                "timeoutSeconds": 10,
                "idempotent": True,
            }
            made = await self.admin.ask(CREATE_AGENT, {"input": draft})
            registered[agent.name] = made["createAgent"]["agent"]["id"]
        self.screen.title("Three agents, each a real HTTP server on this machine")
        self.screen.pairs([(agent.name, f"{agent.description}\n{agent.url}") for agent in agents])
        return registered

    async def create(self, job: dict[str, Any], agent_id: str | None) -> str:
        """Create a job, as the client does."""
        made = await self.client.ask(CREATE_JOB, {"input": {**job, "agentId": agent_id}})
        job_id: str = made["createJob"]["job"]["id"]
        return job_id

    def introduce(self, job: dict[str, Any], agent: DemoAgent) -> None:
        """Say what the job asks for."""
        self.screen.title(f"A job for the {agent.name.lower()}: {job['title']}")
        self.screen.line(job["description"])
        self.screen.line("The result is signed off when:")
        for criterion in job["acceptanceCriteria"]:
            by = "" if criterion.get("check") else " (judged by the model)"
            optional = "" if criterion.get("required", True) else " (optional)"
            self.screen.line(f"- {criterion['text']}{optional}{by}")

    async def attempt(self, job_id: str, number: int) -> tuple[bool, bool]:
        """Press Execute, show the log while it grows, then what came of it: completed, or something to mend."""
        again = "" if number == 1 else " again: the agent is told what to mend"
        self.screen.title(f"{self.client.person.name} presses Execute{again}")
        last = await self.client.ask(LAST_ENTRY, {"id": job_id})
        cursor = last["job"]["logs"]["edges"][0]["cursor"]
        press = {"input": {"jobId": job_id, "waitSeconds": WAIT_SECONDS}}
        following = asyncio.create_task(self.show_log(job_id, cursor))
        answer = await self.client.ask(EXECUTE, press)
        # The last entries may still be on their way.
        await asyncio.wait({following}, timeout=LATE_SECONDS)
        following.cancel()
        job = answer["executeJob"]["job"]
        if job["status"] == JobStatus.COMPLETED.name:
            self.screen.title("Completed")
            self.screen.line("The result:")
            self.show_result(job["result"])
            return True, False
        self.screen.title(
            "Re-submission Required" if job["status"] == JobStatus.RESUBMISSION_REQUIRED.name else job["status"]
        )
        notice: dict[str, Any] = job["notice"] or {"message": "", "failedCriteria": []}
        for failed in notice["failedCriteria"]:
            self.screen.line(f"Failed: {failed['criterion']['text']}", "red")
            self.screen.line(f"Why: {failed['rationale']}")
        if not notice["failedCriteria"]:
            self.screen.line(notice["message"])
        return False, bool(notice["failedCriteria"])

    async def show_log(self, job_id: str, after: str) -> None:
        """Show each entry as it happens, until the job is out of execution again."""
        async for log in self.client.follow(job_id, after):
            self.screen.entry(log)
            if log["fromStatus"] == JobStatus.IN_EXECUTION.name:
                return

    def show_result(self, result: dict[str, Any]) -> None:
        """Show people and their numbers."""
        numbers = {phone["name"]: phone["number"] for phone in result["phones"]}
        for contact in result["contacts"]:
            name, address = contact["name"], contact["email"]
            self.screen.columns([(name, 12, ""), (address, 36, "")], numbers.get(name, "-"))

    async def seed(self, agent_ids: dict[str, str]) -> str:
        """Create the other jobs, execute some of them, and return the id of one that can be executed still."""
        shown: list[tuple[str, str]] = []
        assigned_id = ""
        for job, agent, executed in OTHER_JOBS:
            job_id = await self.create(job, agent_ids[agent] if agent else None)
            status = JobStatus.ASSIGNED.name if agent else JobStatus.PENDING.name
            if status == JobStatus.ASSIGNED.name and not executed:
                assigned_id = job_id
            if executed:
                answer = await self.client.ask(EXECUTE, {"input": {"jobId": job_id, "waitSeconds": WAIT_SECONDS}})
                status = answer["executeJob"]["job"]["status"]
            shown.append((status, f"{job['title']}\n{job_id}"))
        self.screen.title("More jobs")
        self.screen.pairs(shown)
        return assigned_id

    def show_ways_in(self, job_id: str, assigned_id: str) -> None:
        """Say how to look around: commands that can be copied as they stand."""
        url = self.client.url
        query = "query($id: ID!) { job(id: $id) { title status result logs { nodes { timestamp type message } } } }"
        body = json.dumps({"query": query, "variables": {"id": job_id}})
        self.screen.title(f"Look around at {url}")
        self.screen.line("In a browser, one click makes you Inês or Ada; GraphiQL is at /graphql.")
        for api in (self.client, self.admin):
            self.screen.line(f"{api.person.name}, {api.person.role.value}; good for 12 hours:")
            self.screen.verbatim(f"{api.person.role.name}={api.token}")
        bearer = f'-H "Authorization: Bearer ${self.client.person.role.name}"'
        self.screen.line("The job with its log, over GraphQL:")
        self.screen.verbatim(
            f"curl -s {url}/graphql {bearer} \\\n  -H 'Content-Type: application/json' \\\n  -d {shlex.quote(body)}"
        )
        self.screen.line("Execute the changelog job, over REST:")
        self.screen.verbatim(f"curl -s -X POST {bearer} \\\n  {url}/api/jobs/{assigned_id}/execute")


# ------------------------------------------------------------------------------------------------------ the set-up


def settings_for(directory: Path) -> Settings:
    """The environment's settings, but for everything that could clash with a service of the user's."""
    return read(
        database_url=f"{SQLITE}{directory / 'demo.db'}",
        secret_key=SecretStr(secrets.token_urlsafe(48)),
        runner="in_process",
        jwks_url=None,
        jwt_issuer=None,
        jwt_audience=None,
        # By these names only: one click signs in, and a foreign page's name may lead here (DNS rebinding).
        trusted_hosts=(LOOPBACK, "localhost"),
        validator_deadline_seconds=VALIDATOR_SECONDS,
        allowed_agent_networks=(ip_network("127.0.0.0/8"),),
    )


def demo_sockets(port: int | None) -> list[socket.socket]:
    """Listen where asked; by default on the usual port, or where that is taken on any other. Raises DemoError."""
    if port is not None:
        try:
            return serving.listen(LOOPBACK, port)
        except OSError as error:
            why = error.strerror or str(error)
            raise DemoError(f"port {port} cannot be listened on: {why}. Another port: --port N") from None
    try:
        return serving.listen(LOOPBACK, USUAL_PORT)
    except OSError:
        return serving.listen(LOOPBACK, 0)


@asynccontextmanager
async def served(settings: Settings, sockets: list[socket.socket]) -> AsyncGenerator[asyncio.Task[None]]:
    """Serve while the context is open; the task ends when a signal has ended the server."""
    app = create_app(settings, people=PEOPLE)
    server = serving.server_for(app, app.state.drain, settings)
    started = asyncio.Event()
    server.on_started = started.set
    task = asyncio.create_task(server.serve(sockets))
    try:
        await asyncio.wait({task, asyncio.create_task(started.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            raise DemoError("the server did not start")
        yield task
    finally:
        server.end()
        await task


async def show(sockets: list[socket.socket], *, once: bool) -> bool:
    """Run the demo; True where the job was completed."""
    shown = screen()
    with tempfile.TemporaryDirectory(prefix="signoff-demo-", ignore_cleanup_errors=True) as directory:
        async with agents_served() as agents:
            settings = settings_for(Path(directory))
            tokens = Tokens.of(secret_keys(settings))
            url = f"http://{LOOPBACK}:{serving.port_of(sockets[0])}"
            can_judge = settings.openai_api_key is not None
            shown.line(
                "Signoff's demo: a fresh SQLite database, "
                + ("your OpenAI key for one criterion" if can_judge else "no keys, nothing leaves this machine")
                + "."
            )
            async with served(settings, sockets) as server, httpx.AsyncClient(timeout=WAIT_SECONDS + 10) as http:
                client, admin = (
                    Api(
                        url,
                        person,
                        tokens.issue(person.id, person.role, name=person.name, ttl_seconds=PERSON_SECONDS),
                        http,
                    )
                    for person in PEOPLE
                )
                demo = asyncio.create_task(Demo(shown, client, admin, can_judge).run(agents, stays=not once))
                await asyncio.wait({demo, server}, return_when=asyncio.FIRST_COMPLETED)
                if not demo.done():
                    demo.cancel()  # Ctrl-C before the end
                    return False
                completed = demo.result()
                if not once:
                    shown.title("Serving until Ctrl-C.")
                    await asyncio.wait({server})
    return completed


def run(port: int | None, *, once: bool) -> bool:
    """Run the demo; True where the job was completed. Raises DemoError."""
    serving.log_to_stderr(logging.WARNING)
    return asyncio.run(show(demo_sockets(port), once=once))
