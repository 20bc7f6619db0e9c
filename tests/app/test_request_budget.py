"""What a request costs besides its operation, counted in calls and not timed: see tests/schema/test_budget.py."""

from typing import Any

import orjson

from tests.app.conftest import Api
from tests.calls import Calls

# 116 when this was last counted, of which the operation takes 38; with a little to spare for another Python.
BUDGET = 121


async def calls_of_a_request(api: Api) -> int:
    """How many calls a request takes from the server's to the last byte, sent for the second time."""
    body = orjson.dumps({"query": "{ __typename }"})
    headers = {
        "host": "signoff.test",
        "content-type": "application/json",
        "accept": "application/json",
        "content-length": str(len(body)),
        **api.bearer(),
    }
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/graphql",
        "raw_path": b"/graphql",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    await api.app.door({**scope, "state": {}}, receive, send)
    with Calls() as calls:
        await api.app.door({**scope, "state": {}}, receive, send)
    assert orjson.loads(sent[-1]["body"]) == {"data": {"__typename": "Query"}}
    return calls.counted


async def test_a_request_takes_no_more_calls_than_it_did(api: Api) -> None:
    counted = await calls_of_a_request(api)

    assert counted <= BUDGET, counted
