"""Every row of the table gets its answer from one real server, which serves on, with its memory of before."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.typing import Subprotocol

from db.records import Role
from tests.agents import ScriptedAgent
from tests.hostile import table
from tests.hostile.process import ServerProcess, served, token
from tests.hostile.table import SESSION, Answer, Document, Frames, Handshake, Http, NoUtf8, Raw, Refused, Token

CREATE_AGENT = """mutation($input: CreateAgentInput!) {
  made: createAgent(input: $input) { item: agent { id } userErrors { code message path } } }"""
CREATE_JOB = """mutation($input: CreateJobInput!) {
  made: createJob(input: $input) { item: job { id } userErrors { code message path } } }"""
EXECUTE = """mutation($input: ExecuteJobInput!) { executeJob(input: $input) {
  job { status latestExecution { outcome logs(last: 20) { nodes { type status errorCode } } } }
  userErrors { message } } }"""
PATIENCE_SECONDS = 30
LARGEST_GROWTH_BYTES = 64 * 1024 * 1024


async def made(server: ServerProcess, mutation: str, role: Role, **fields: Any) -> str:
    payload = (await server.ask(mutation, role, input=fields))["made"]
    assert payload["userErrors"] == []
    return str(payload["item"]["id"])


async def an_agent(server: ServerProcess, url: str, **fields: Any) -> str:
    return await made(server, CREATE_AGENT, Role.ADMIN, name="An agent", endpointUrl=url, **fields)


async def a_job(server: ServerProcess, agent_id: str | None = None, expression: str = "answer.ok") -> str:
    criteria = [{"text": "It is ok", "check": {"expression": expression}}]
    return await made(server, CREATE_JOB, Role.CLIENT, title="A job", acceptanceCriteria=criteria, agentId=agent_id)


# -------------------------------------------------------------------------------------------- how rows are asked


async def http(server: ServerProcess, row: Http, job_id: str) -> None:
    def filled(text: str) -> str:
        return text.replace("{job}", job_id).replace("{host}", server.host).replace("{token}", token())

    sent = {"authorization": f"Bearer {token()}", "content-type": "application/json", **row.headers}
    headers = {name: filled(value) for name, value in sent.items() if value}
    response = await server.http.request(row.method, filled(row.path), content=row.body, headers=headers)

    assert (response.status_code, code_of(response.content) if row.code else "") == (row.status, row.code), (
        response.text
    )


def code_of(content: bytes) -> str:
    """The code of the first error, in GraphQL's form or that of REST's refusals."""
    body: dict[str, Any] = json.loads(content)
    if "userErrors" in body:
        return str(body["userErrors"][0]["code"])
    return str(body["errors"][0]["extensions"]["code"])


async def raw(server: ServerProcess, row: Raw) -> None:
    reader, writer = await asyncio.open_connection(*server.host.split(":"))
    try:
        writer.write(row.sent)
        answer = await reader.read(200)
    finally:
        writer.transport.abort()

    assert answer.startswith(row.answer), answer


async def document(server: ServerProcess, row: Document) -> None:
    headers = {"authorization": f"Bearer {token()}", "accept": "application/graphql-response+json"}
    body = {"query": row.text, "variables": row.variables}
    response = await server.http.post("/graphql", json=body, headers=headers)

    errors = response.json()["errors"]
    assert (response.status_code, errors[0]["extensions"]["code"]) == (row.status, row.code), errors
    assert row.says in errors[0]["message"]


def connecting(server: ServerProcess, row: Handshake) -> websockets.connect:
    origin, host = row.headers.get("origin"), row.headers.get("host")
    address = f"ws://{host or server.host}/graphql"
    ip, port = server.host.split(":")
    elsewhere: dict[str, Any] = {"host": ip, "port": int(port)} if host else {}
    return websockets.connect(
        address,
        origin=None if origin is None else websockets.Origin(origin),
        subprotocols=[Subprotocol(name) for name in row.subprotocols] or None,
        compression=None,
        **elsewhere,
    )


async def handshake(server: ServerProcess, row: Handshake) -> None:
    try:
        async with connecting(server, row) as socket:
            await socket.wait_closed()
            found = socket.close_code
    except websockets.InvalidStatus as error:
        found = error.response.status_code

    assert found == row.answer


async def frames(server: ServerProcess, row: Frames) -> None:
    async with connecting(server, Handshake(row.what, 0)) as socket:
        if row.init:
            await socket.send(
                json.dumps({"type": "connection_init", "payload": {"authorization": f"Bearer {token()}"}})
            )
            assert json.loads(await socket.recv())["type"] == "connection_ack"
        for frame in row.sent:
            if isinstance(frame, NoUtf8):
                await socket.send(frame.sent, text=True)
            else:
                await socket.send(frame if isinstance(frame, str | bytes) else json.dumps(frame))
        if isinstance(row.answer, int):
            await socket.wait_closed()
            assert socket.close_code == row.answer
        else:
            async for message in socket:
                if (told := json.loads(message))["type"] == "error":
                    assert told["payload"][0]["extensions"]["code"] == row.answer
                    return
            pytest.fail(f"closed with {socket.close_code}")


async def nobodys(server: ServerProcess, row: Token) -> None:
    async def refused(method: str, path: str, **headers: str) -> None:
        content = table.GOOD if method == "POST" else b""
        sent = {"content-type": "application/json", **headers}
        response = await server.http.request(method, path, content=content, headers=sent)
        assert (response.status_code, code_of(response.content)) == (401, "UNAUTHENTICATED"), response.text

    bearer = {"authorization": f"Bearer {row.token}"}
    await refused("POST", "/graphql", **bearer)
    await refused("GET", f"/api/jobs/{table.UNKNOWN_JOB}", **bearer)
    await refused("POST", "/graphql", cookie=f"{SESSION}={row.token}")
    answer = await server.http.post("/login", json={"token": row.token})
    assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
    async with connecting(server, Handshake(row.what, 0)) as socket:
        await socket.send(json.dumps({"type": "connection_init", "payload": bearer}))
        await socket.wait_closed()
        assert socket.close_code == 4403


async def answer(server: ServerProcess, row: Answer) -> None:
    async with ScriptedAgent(row.response) as agent:
        job_id = await a_job(server, await an_agent(server, agent.url, **row.agent), row.expression)
        executed = (await server.ask(EXECUTE, input={"jobId": job_id, "waitSeconds": 60}))["executeJob"]

    assert executed["userErrors"] == []
    job = executed["job"]
    entries = [entry for entry in job["latestExecution"]["logs"]["nodes"] if entry["type"] == "AGENT_RESPONSE"]
    found = (job["latestExecution"]["outcome"], job["status"], entries[-1]["status"], entries[-1]["errorCode"])
    assert found == (row.outcome, row.status, row.entry, row.error)


async def registration(server: ServerProcess, row: Refused, place: str) -> None:
    """Of a schema and an address by an admin for an agent, of an expression by a client for a job."""
    if place == "expression":
        draft = {"title": "A job", "acceptanceCriteria": [{"text": "x", "check": {"expression": row.given}}]}
        payload = (await server.ask(CREATE_JOB, input=draft))["made"]
    else:
        draft = {"name": "An agent", "endpointUrl": "http://127.0.0.1:9/", place: row.given}
        payload = (await server.ask(CREATE_AGENT, Role.ADMIN, input=draft))["made"]

    (error,) = payload["userErrors"]
    assert (payload["item"], error["code"], error["path"][-1]) == (None, "INVALID_INPUT", place)
    assert row.says in error["message"]


# ----------------------------------------------------------------------------------------------------- the table


@asynccontextmanager
async def unharmed(server: ServerProcess) -> AsyncGenerator[None]:
    """Whatever happens meanwhile, the server serves on, has no bug to tell of, and keeps little of it."""

    async def serves() -> None:
        async with ScriptedAgent() as agent:
            job_id = await a_job(server, await an_agent(server, agent.url))
            done = await server.ask(EXECUTE, input={"jobId": job_id, "waitSeconds": 60})
        assert done["executeJob"]["job"]["status"] == "COMPLETED"
        assert (await server.http.get("/readyz")).json()["status"] == "ready"

    await serves()
    before = server.resident_bytes
    yield
    assert server.process.returncode is None
    await serves()
    assert server.stack_traces() == []
    assert server.resident_bytes - before <= LARGEST_GROWTH_BYTES


async def test_every_row_gets_its_answer(tmp_path: Path, subtests: pytest.Subtests) -> None:
    async with served(tmp_path) as server, unharmed(server):
        job_id = await a_job(server)
        kinds: Sequence[tuple[str, Sequence[Any], Callable[..., Awaitable[None]]]] = (
            ("HTTP", table.HTTP, partial(http, job_id=job_id)),
            ("REST", table.REST, partial(http, job_id=job_id)),
            ("origin", table.ORIGINS, partial(http, job_id=job_id)),
            ("cookie", table.COOKIES, partial(http, job_id=job_id)),
            ("bytes", table.RAW, raw),
            ("document", table.DOCUMENTS, document),
            ("frames", table.FRAMES, frames),
            ("handshake", table.HANDSHAKES, handshake),
            ("token", table.TOKENS_OF_NOBODY, nobodys),
            ("schema", table.SCHEMAS, partial(registration, place="inputSchema")),
            ("expression", table.EXPRESSIONS, partial(registration, place="expression")),
            ("address", table.ADDRESSES, partial(registration, place="endpointUrl")),
            ("agent's answer", table.ANSWERS, answer),
        )
        asked = [(f"{kind}: {row.what}", partial(of_row, server, row)) for kind, rows, of_row in kinds for row in rows]
        assert len(asked) >= 60
        # A few at once: strangers do not wait for each other either.
        places = asyncio.Semaphore(8)

        async def in_turn(act: Callable[[], Awaitable[None]]) -> None:
            async with places, asyncio.timeout(PATIENCE_SECONDS):
                await act()

        found = await asyncio.gather(*(in_turn(act) for _, act in asked), return_exceptions=True)
        for (what, _), failure in zip(asked, found, strict=True):
            with subtests.test(what):
                if failure is not None:
                    raise failure
