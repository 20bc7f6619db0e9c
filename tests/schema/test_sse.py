"""GraphQL over server-sent events, on a real server: distinct connections mode."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from services.cursors import log_cursor
from tests.schema.conftest import BRIEF, Api, Followers, until
from tests.schema.test_jobs_api import EXECUTE, new_agent, new_job

CHANGES = "subscription S($id: ID, $after: String) { jobStatusChanged(jobId: $id, after: $after) { toStatus } }"

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def events_of(response: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    """Name and data of each event; comments keep the connection open."""
    name = ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data:"):
            text = line.removeprefix("data:").strip()
            yield name, json.loads(text) if text else None


@asynccontextmanager
async def stream(
    served: str, body: Mapping[str, Any], token: str = "carl", method: str = "POST"
) -> AsyncGenerator[httpx.Response]:
    headers = {"accept": "text/event-stream", "authorization": f"Bearer {token}"}
    sent: dict[str, Any] = {"json": body} if method == "POST" else {"params": body}
    async with (
        httpx.AsyncClient() as http,
        http.stream(method, f"http://{served}/graphql", headers=headers, timeout=10, **sent) as response,
    ):
        yield response


async def test_an_execution_is_followed(api: Api, served: str) -> None:
    job_id = await new_job(api, await new_agent(api))
    variables = {"id": job_id, "after": log_cursor(0)}
    async with stream(served, {"query": CHANGES, "variables": variables}) as response:
        assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream")
        events = events_of(response)
        told = [await anext(events) for _ in range(2)]
        await api.data(EXECUTE, input={"jobId": job_id})
        told += [await anext(events) for _ in range(2)]

    assert [name for name, _ in told] == ["next"] * 4
    assert [data["data"]["jobStatusChanged"]["toStatus"] for _, data in told] == [
        "PENDING",
        "ASSIGNED",
        "IN_EXECUTION",
        "COMPLETED",
    ]


async def test_a_browsers_event_source_asks_with_get(api: Api, served: str) -> None:
    await new_job(api)
    body = {"query": CHANGES, "variables": json.dumps({"after": log_cursor(0)})}
    async with stream(served, body, method="GET") as response:
        _, data = await anext(events_of(response))

    assert data == {"data": {"jobStatusChanged": {"toStatus": "PENDING"}}}


@pytest.mark.parametrize(
    ("variables", "code"), [({"id": "x"}, "NOT_FOUND"), ({"after": "x"}, "INVALID_INPUT"), ({"id": 1.5}, None)]
)
async def test_a_refused_subscription_says_why_and_ends(
    api: Api, served: str, variables: Mapping[str, Any], code: str | None
) -> None:
    async with stream(served, {"query": CHANGES, "variables": variables}) as response:
        events = [event async for event in events_of(response)]

    assert [name for name, _ in events] == ["next", "complete"]
    (error,) = events[0][1]["errors"]
    assert error["extensions"]["code"] == (code or "GRAPHQL_VALIDATION_FAILED")


async def test_a_broken_token_is_401(api: Api, served: str) -> None:
    async with stream(served, {"query": CHANGES}, token="forged") as response:
        assert response.status_code == 401
        assert json.loads(await response.aread())["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_a_listener_that_leaves_leaves_nothing_behind(served: str, followers: Followers) -> None:
    async with stream(served, {"query": CHANGES}):
        await until(lambda: followers.count == 1)

    await until(lambda: followers.count == 0)


async def test_a_stream_lasts_as_long_as_the_token(api: Api, served: str, followers: Followers) -> None:
    job_id = await new_job(api)
    variables = {"id": job_id, "after": log_cursor(0)}
    async with stream(served, {"query": CHANGES, "variables": variables}, token=BRIEF) as response:
        events = [event async for event in events_of(response)]

    ((first, data), (second, error), last) = events
    assert (first, data["data"]) == ("next", {"jobStatusChanged": {"toStatus": "PENDING"}})
    assert (second, last) == ("next", ("complete", None))
    assert error == {"errors": [{"message": "The token has expired.", "extensions": {"code": "UNAUTHENTICATED"}}]}
    await until(lambda: followers.count == 0)
