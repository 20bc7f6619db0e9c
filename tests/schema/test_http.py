"""GraphQL over HTTP: what is asked how, and what is answered in which form."""

import gzip
import json
import logging
from typing import Any

import pytest

from schema.http import EVENTS, GRAPHQL_JSON, JSON
from tests.schema.conftest import Api, comparing

# None of this touches the database.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

VIEWER = "{ viewer { id } }"
GRAPHQL_TYPE = f"{GRAPHQL_JSON}; charset=utf-8"
JSON_TYPE = f"{JSON}; charset=utf-8"


def code_of(answer: dict[str, Any]) -> str:
    assert "data" not in answer
    (error,) = answer["errors"]
    code: str = error["extensions"]["code"]
    return code


# --------------------------------------------------------------------------------------------------------- accept


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", JSON_TYPE),
        ("*/*", JSON_TYPE),
        ("application/*", JSON_TYPE),
        (JSON, JSON_TYPE),
        (GRAPHQL_JSON, GRAPHQL_TYPE),
        (f"{JSON}, {GRAPHQL_JSON}", GRAPHQL_TYPE),
        (f"{GRAPHQL_JSON};charset=utf-8, {JSON};charset=utf-8", GRAPHQL_TYPE),
        (f"{GRAPHQL_JSON};q=0.5, {JSON}", JSON_TYPE),
        (f"{GRAPHQL_JSON};q=0, */*", JSON_TYPE),
        (f"{GRAPHQL_JSON}, {JSON};q=0, */*;q=0.1", GRAPHQL_TYPE),
        # What urql sends with everything.
        (f"{GRAPHQL_JSON}, {JSON}, {EVENTS}, multipart/mixed", GRAPHQL_TYPE),
        (f"{EVENTS}, {JSON}", JSON_TYPE),
        (f"text/html, {JSON};q=0.9, */*;q=0.8", JSON_TYPE),
        (GRAPHQL_JSON.upper(), GRAPHQL_TYPE),
    ],
)
async def test_a_query_is_answered_in_the_form_that_the_client_likes_best(
    api: Api, accept: str, content_type: str
) -> None:
    response = await api.post({"query": VIEWER}, accept=accept)

    assert (response.status_code, response.headers["content-type"]) == (200, content_type)
    assert response.json() == {"data": {"viewer": {"id": "carl"}}}
    assert response.headers["vary"] == "Accept"


@pytest.mark.parametrize("accept", ["text/html", f"{JSON};q=0", "image/*", f"{JSON};q=x", "text/*"])
async def test_a_client_that_takes_none_of_our_forms_is_told(api: Api, accept: str) -> None:
    response = await api.post({"query": VIEWER}, accept=accept)

    assert response.status_code == 406
    assert code_of(response.json()) == "BAD_REQUEST"


async def test_a_query_is_streamed_to_who_likes_that_best(api: Api) -> None:
    response = await api.post({"query": VIEWER}, accept=f"{EVENTS}, {JSON};q=0.5")

    assert response.headers["content-type"] == EVENTS
    events = [block for block in response.text.split("\n\n") if not block.startswith(":")]
    assert events[0] == 'event: next\ndata: {"data":{"viewer":{"id":"carl"}}}'
    assert events[1].startswith("event: complete")


# ---------------------------------------------------------------------------------------------------------- status

BROKEN = {
    "no GraphQL": {"query": "{"},
    "unknown field": {"query": "{ nonsense }"},
    "several operations": {"query": "query A { viewer { id } } query B { viewer { id } }"},
    "unknown operation": {"query": "query A { viewer { id } }", "operationName": "B"},
    "no operation": {"query": "fragment F on Query { viewer { id } }"},
    "missing variable": {"query": "query Q($id: ID!) { job(id: $id) { id } }"},
    "variable of the wrong type": {
        "query": "query Q($n: Int) { jobs(first: $n) { totalCount } }",
        "variables": {"n": "x"},
    },
    "too much": {"query": "{ jobs(first: 100) { nodes { logs(first: 100) { totalCount } } } }"},
}


@pytest.mark.parametrize("broken", BROKEN)
async def test_what_cannot_be_executed_is_400_without_data(api: Api, broken: str) -> None:
    response = await api.post(BROKEN[broken], accept=GRAPHQL_JSON)

    assert (response.status_code, response.headers["content-type"]) == (400, GRAPHQL_TYPE)
    assert code_of(response.json()) in {
        "GRAPHQL_PARSE_FAILED",
        "GRAPHQL_VALIDATION_FAILED",
        "BAD_REQUEST",
        "TOO_COMPLEX",
    }


async def test_the_older_form_says_so_with_200(api: Api) -> None:
    response = await api.post({"query": "{ nonsense }"}, accept=JSON)

    assert response.status_code == 200
    assert code_of(response.json()) == "GRAPHQL_VALIDATION_FAILED"


async def test_an_error_of_a_field_is_200_with_data(api: Api) -> None:
    response = await api.post({"query": "{ viewer { id } jobs(first: 0) { totalCount } }"}, accept=GRAPHQL_JSON)

    assert response.status_code == 200
    assert response.json()["data"] is None
    assert response.json()["errors"][0]["path"] == ["jobs"]


# ---------------------------------------------------------------------------------------------------------- bodies


@pytest.mark.parametrize(
    "body",
    [
        b"5",
        b'"x"',
        b"null",
        b"[]",
        b'[{"query": "{ viewer { id } }"}]',
        b"{",
        b"",
        b"{}",
        b'{"query": null}',
        b'{"query": ""}',
        b'{"query": 5}',
        b'{"query": {"a": 1}}',
        b'{"query": "{ viewer { id } }", "variables": []}',
        b'{"query": "{ viewer { id } }", "variables": "{}"}',
        b'{"query": "{ viewer { id } }", "operationName": 5}',
        b'{"query": "{ viewer { id } }", "extensions": 0}',
        b'{"query": "{ viewer { id } }", "query": "{ __typename }"}',
        b'{"query": "{ viewer { id } }", "variables": {"a": NaN}}',
        b'{"query": "{ viewer { id } }", "variables": {"a": ' + b"9" * 5_000 + b"}}",
        b'{"query": "{ viewer { id } }", "variables": {"a": "\\ud800"}}',
        b'{"query": "\xff"}',
        b"[" * 200_000,
        b'{"query":' + b'{"a":' * 200_000,
    ],
)
async def test_a_body_that_is_no_request_is_400(api: Api, body: bytes) -> None:
    response = await api.post(body, accept=GRAPHQL_JSON)

    assert (response.status_code, response.headers["content-type"]) == (400, GRAPHQL_TYPE)
    assert code_of(response.json()) == "BAD_REQUEST"


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ({"content-type": "text/plain"}, None),
        ({"content-type": "application/x-www-form-urlencoded"}, None),
        ({"content-type": "multipart/form-data; boundary=x"}, None),
        ({"content-type": "application/graphql"}, None),
        ({"content-type": "application/json-patch+json"}, None),
        ({"content-type": "application/json; charset=utf-16"}, None),
        ({"content-type": ""}, None),
        ({"content-encoding": "gzip"}, gzip.compress(json.dumps({"query": VIEWER}).encode(), mtime=0)),
    ],
)
async def test_a_body_of_another_type_is_415(api: Api, headers: dict[str, str], content: bytes | None) -> None:
    response = await api.post(content or {"query": VIEWER}, **headers)

    assert response.status_code == 415


async def test_a_body_may_name_its_encoding(api: Api) -> None:
    response = await api.post({"query": VIEWER}, **{"content-type": 'Application/JSON; charset="UTF-8"'})

    assert response.status_code == 200


async def test_what_is_null_is_as_if_absent(api: Api) -> None:
    body = {"query": VIEWER, "operationName": None, "variables": None, "extensions": None}

    assert (await api.post(body)).json() == {"data": {"viewer": {"id": "carl"}}}


# --------------------------------------------------------------------------------------------------------- methods


async def test_a_query_may_be_asked_with_get(api: Api) -> None:
    query = {
        "query": "query A { __typename } query B($id: ID!) { job(id: $id) { id } viewer { id } }",
        "operationName": "B",
        "variables": '{"id": "x"}',
    }

    response = await api.http.get("/graphql", params=query, headers=api.headers)

    assert response.json() == {"data": {"job": None, "viewer": {"id": "carl"}}}


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"query": 'mutation { assignJob(input: {jobId: "x", agentId: "x"}) { job { id } } }'}, 405),
        ({}, 400),
        ({"query": VIEWER, "variables": "{"}, 400),
        ({"query": VIEWER, "variables": "[1]"}, 400),
        ({"query": "subscription { jobStatusChanged { cursor } }"}, 406),
    ],
)
async def test_get_is_for_queries(api: Api, params: dict[str, str], status: int) -> None:
    response = await api.http.get("/graphql", params=params, headers=api.headers)

    assert response.status_code == status
    assert code_of(response.json()) == "BAD_REQUEST"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_405(api: Api, method: str) -> None:
    response = await api.http.request(method, "/graphql", headers=api.headers)

    assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")


async def test_a_subscription_needs_a_stream(api: Api) -> None:
    response = await api.post({"query": "subscription { jobStatusChanged { cursor } }"}, accept="*/*")

    assert response.status_code == 406
    assert "text/event-stream" in response.json()["errors"][0]["message"]


# ------------------------------------------------------------------------------------------------- who is asking


async def test_a_broken_token_is_401_in_the_form_of_graphql(api: Api) -> None:
    response = await api.post({"query": VIEWER}, authorization="Bearer forged", accept=GRAPHQL_JSON)

    assert (response.status_code, response.headers["content-type"]) == (401, GRAPHQL_TYPE)
    assert response.headers["www-authenticate"] == "Bearer"
    assert code_of(response.json()) == "UNAUTHENTICATED"


async def test_a_session_cookie_is_as_good_as_a_token(api: Api) -> None:
    response = await api.by(None).post({"query": VIEWER}, cookie="session=ada")

    assert response.json() == {"data": {"viewer": {"id": "ada"}}}


# ------------------------------------------------------------------------------------------------------------ bugs


async def test_a_bug_is_masked_and_logged_with_its_trace(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(*_: object) -> object:
        raise LookupError("the password is hunter2")

    monkeypatch.setattr(type(api.house.container.jobs), "get", fails)
    comparing.set(False)

    answer = await api.ask('{ viewer { id } job(id: "x") { id } }')

    (error,) = answer["errors"]
    assert answer["data"] == {"viewer": {"id": "carl"}, "job": None}
    assert (error["message"], error["path"]) == ("Internal error", ["job"])
    assert error["extensions"]["code"] == "INTERNAL"
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert error["extensions"]["traceId"] in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)


async def test_what_is_no_bug_leaves_no_trace_in_the_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    await api.ask("{ jobs(first: 0) { totalCount } }")
    await api.ask("{ jobLogs { totalCount } }")
    await api.ask("{")
    await api.by(None).ask("{ jobs { totalCount } }")

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


CREATE_AGENT = "mutation($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }"
FIELDS = 'name: "x", endpointUrl: "http://x"'


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        (CREATE_AGENT, {"secret": ["canary"]}),
        (CREATE_AGENT, {"secret": {"a": "canary"}}),
        (CREATE_AGENT, {"sekret": "canary"}),
        (f'mutation {{ createAgent(input: {{{FIELDS}, secret: ["canary"]}}) {{ agent {{ id }} }} }}', {}),
        (f"mutation {{ createAgent(input: {{{FIELDS}, secret: canary}}) {{ agent {{ id }} }} }}", {}),
        (f'mutation {{ createAgent(input: {{{FIELDS}, sekret: "canary"}}) {{ agent {{ id }} }} }}', {}),
    ],
)
async def test_an_error_does_not_quote_a_secret_that_was_written_wrongly(
    api: Api, query: str, fields: dict[str, Any]
) -> None:
    answer = await api.ask(query, input={"name": "x", "endpointUrl": "http://x", **fields})

    assert answer["errors"]
    assert "canary" not in json.dumps(answer)


async def test_an_error_quotes_what_is_no_secret(api: Api) -> None:
    answer = await api.ask(CREATE_AGENT, input={"name": 5, "endpointUrl": "http://x"})

    assert answer["errors"][0]["message"].endswith("at .name: String cannot represent a non string value: 5")
