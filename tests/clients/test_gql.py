"""gql, the Python client: over HTTP, and over WebSocket with the websockets library."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from gql import Client, gql
from gql.transport import AsyncTransport
from gql.transport.exceptions import TransportConnectionFailed, TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport
from gql.transport.websockets import WebsocketsTransport

from tests.clients.conftest import Served

SECONDS = 20
CREATE = gql("""
    mutation Create($input: CreateJobInput!) {
      createJob(input: $input) { job { id status } userErrors { code path } }
    }
""")
# The cursor is read with the job: what happens to it from then on is told to whoever follows `after` it.
START = gql("query Start($id: ID!) { feedCursor job(id: $id) { status } }")
EXECUTE = gql("""
    mutation Execute($input: ExecuteJobInput!) {
      executeJob(input: $input) { job { status } execution { id } userErrors { code } }
    }
""")
FOLLOW = gql("""
    subscription Follow($id: ID!, $after: String) {
      jobStatusChanged(jobId: $id, after: $after) { fromStatus toStatus job { id } }
    }
""")
READ = gql("""
    query Read($id: ID!) {
      job(id: $id) {
        status
        result
        logs(first: 100) { totalCount nodes { id type execution { id outcome } } }
        latestExecution { id logs(last: 1) { nodes { id } } }
      }
    }
""")
VIEWER = gql("{ viewer { id role } }")


def http(served: Served, authorization: str | None) -> AsyncTransport:
    headers = {} if authorization is None else {"Authorization": authorization}
    return HTTPXAsyncTransport(served.url, headers=headers, trust_env=False)


def websocket(served: Served, authorization: str | None) -> AsyncTransport:
    payload = {} if authorization is None else {"Authorization": authorization}
    url = served.url.replace("http", "ws", 1)
    return WebsocketsTransport(url, init_payload=payload, connect_args={"proxy": None})


def bearer(served: Served) -> str:
    return f"Bearer {served.token}"


def client_of(transport: AsyncTransport) -> Client:
    # The schema is fetched by introspection, and every document checked against it before it is sent.
    return Client(transport=transport, fetch_schema_from_transport=True, execute_timeout=SECONDS)


@pytest.mark.parametrize("transport", [http, websocket])
async def test_gql_takes_a_job_to_its_result(served: Served, transport: Callable[..., AsyncTransport]) -> None:
    async with (
        asyncio.timeout(SECONDS),
        client_of(transport(served, bearer(served))) as session,
        client_of(websocket(served, bearer(served))) as live,
    ):

        async def ask(document: Any, **variables: Any) -> dict[str, Any]:
            document.variable_values = variables
            answer: dict[str, Any] = await session.execute(document)
            return answer

        assert await ask(VIEWER) == {"viewer": {"id": "ines", "role": "CLIENT"}}
        refused = (await ask(CREATE, input={"title": "", "acceptanceCriteria": []}))["createJob"]
        assert refused["job"] is None
        assert {error["code"] for error in refused["userErrors"]} == {"INVALID_INPUT"}

        criteria = [{"text": "It is ok.", "check": {"expression": "answer.ok"}}]
        draft = {"title": "A job", "acceptanceCriteria": criteria, "agentId": served.agent_id}
        job = (await ask(CREATE, input=draft))["createJob"]["job"]
        start = await ask(START, id=job["id"])
        assert start["job"] == {"status": "ASSIGNED"}

        async def followed() -> list[tuple[str, str]]:
            FOLLOW.variable_values = {"id": job["id"], "after": start["feedCursor"]}
            seen: list[tuple[str, str]] = []
            events: AsyncGenerator[dict[str, Any]] = live.subscribe(FOLLOW)
            async for event in events:
                change = event["jobStatusChanged"]
                assert change["job"] == {"id": job["id"]}
                seen.append((change["fromStatus"], change["toStatus"]))
                if change["toStatus"] == "COMPLETED":
                    break
            await events.aclose()
            return seen

        following = asyncio.create_task(followed())
        pressed = (await ask(EXECUTE, input={"jobId": job["id"], "waitSeconds": 0}))["executeJob"]
        assert pressed["userErrors"] == []
        assert await following == [("ASSIGNED", "IN_EXECUTION"), ("IN_EXECUTION", "COMPLETED")]

        read = (await ask(READ, id=job["id"]))["job"]
        assert (read["status"], read["result"]["ok"]) == ("COMPLETED", True)
        assert read["latestExecution"]["id"] == pressed["execution"]["id"]
        entries = read["logs"]["nodes"]
        assert read["logs"]["totalCount"] == len(entries)
        assert {"AGENT_REQUEST", "AGENT_RESPONSE", "STATUS_CHANGE"} <= {entry["type"] for entry in entries}
        assert entries[-1]["execution"] == {"id": pressed["execution"]["id"], "outcome": "ACCEPTED"}
        assert read["latestExecution"]["logs"]["nodes"] == [{"id": entries[-1]["id"]}]

        again = (await ask(EXECUTE, input={"jobId": job["id"], "waitSeconds": 0}))["executeJob"]
        assert again["userErrors"] == [{"code": "NOT_EXECUTABLE"}]


@pytest.mark.parametrize("transport", [http, websocket])
async def test_without_a_token_gql_raises_query_errors(
    served: Served, transport: Callable[..., AsyncTransport]
) -> None:
    async with asyncio.timeout(SECONDS), client_of(transport(served, None)) as session:
        assert await session.execute(VIEWER) == {"viewer": None}
        START.variable_values = {"id": "job_x"}
        with pytest.raises(TransportQueryError) as refusal:
            await session.execute(START)

    assert "UNAUTHENTICATED" in [error["extensions"]["code"] for error in refusal.value.errors or []]


async def test_a_broken_token_is_told_in_each_transports_own_way(served: Served) -> None:
    async with asyncio.timeout(SECONDS):
        with pytest.raises(TransportQueryError, match="token"):
            async with Client(transport=http(served, "Bearer broken")) as session:
                await session.execute(VIEWER)
        with pytest.raises(TransportConnectionFailed):
            async with Client(transport=websocket(served, "Bearer broken")) as session:
                await session.execute(VIEWER)
