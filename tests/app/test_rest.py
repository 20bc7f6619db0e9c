"""REST does what GraphQL does, under the same names and the same permissions."""

import json
from typing import Any

import pytest

from app.rest import STATUS_OF
from db.records import Role
from services.refusals import ErrorCode
from tests.agents import Response, ScriptedAgent
from tests.app.conftest import Api

THE_SAME = """query($id: ID!) { job(id: $id) {
  id revision title status result createdAt availableActions owner { id displayName role }
  latestExecution { id number outcome validation { verdict criteria { verdict rationale } } } } }"""
LOGS = """query($id: ID!) { job(id: $id) { logs(first: 100) { nodes {
  id jobId execution { id } attempt timestamp type status message actor { id displayName role } payload payloadState
  payloadBytes fromStatus toStatus httpStatus durationMs errorCode traceId } } } }"""
OF_A_LOG = '{ __type(name: "JobLog") { fields { name } } }'


def holds(larger: Any, smaller: Any) -> bool:
    """Whether every member of the smaller is equal in the larger, at any depth."""
    if isinstance(smaller, dict):
        return all(holds(larger[name], value) for name, value in smaller.items())
    if isinstance(smaller, list):
        return len(larger) == len(smaller) and all(map(holds, larger, smaller))
    return bool(larger == smaller)


async def test_execute_answers_with_the_job_as_graphql_shows_it(api: Api, agent: ScriptedAgent) -> None:
    job_id = await api.job(await api.agent(agent.url))

    answer = await api.execute(job_id)

    assert answer.status_code == 200
    job = answer.json()
    assert (job["id"], job["status"], job["result"]) == (job_id, "COMPLETED", {"ok": True})
    assert holds(job, (await api.ask(THE_SAME, id=job_id))["job"])
    assert (await api.get(f"/api/jobs/{job_id}")).json() == job


async def test_execute_that_does_not_wait_answers_202(api: Api) -> None:
    async with ScriptedAgent(Response(hangs=True)) as agent:
        job_id = await api.job(await api.agent(agent.url))

        answer = await api.execute(job_id, b'{"waitSeconds": 0}')

        assert (answer.status_code, answer.json()["status"]) == (202, "IN_EXECUTION")
        again = await api.execute(job_id)
        assert again.status_code == 409
        assert again.json()["userErrors"][0]["code"] == "NOT_EXECUTABLE"


async def test_the_same_key_is_the_same_execution(api: Api, agent: ScriptedAgent) -> None:
    job_id = await api.job(await api.agent(agent.url))
    key = {"idempotency-key": "key-1"}

    first = await api.execute(job_id, headers=key)
    second = await api.execute(job_id, headers=key)
    in_the_body = await api.execute(job_id, b'{"idempotencyKey": "key-1"}')
    other = await api.execute(job_id, b'{"expectedRevision": 1}', key)

    assert first.json() == second.json() == in_the_body.json()
    assert len(agent.requests) == 1
    assert (other.status_code, other.json()["userErrors"][0]["code"]) == (409, "IDEMPOTENCY_CONFLICT")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"{", None),
        (b"[]", None),
        (b"5", None),
        (b"null", None),
        (b'{"waitSeconds": NaN}', None),
        (b'{"waitSeconds": 1, "waitSeconds": 2}', None),
        (b"[" * 100_000, None),
        (b'{"wait": 1}', []),
        (b'{"jobId": "job_1"}', ["jobId"]),
        (b'{"waitSeconds": "long"}', ["waitSeconds"]),
        (b'{"waitSeconds": null}', ["waitSeconds"]),
        (b'{"waitSeconds": 301}', ["waitSeconds"]),
        (b'{"expectedRevision": 1.5}', ["expectedRevision"]),
        (b'{"idempotencyKey": "another"}', ["idempotencyKey"]),
    ],
)
async def test_a_body_that_is_no_input_is_refused(
    api: Api, agent: ScriptedAgent, body: bytes, path: list[str] | None
) -> None:
    job_id = await api.job(await api.agent(agent.url))

    answer = await api.execute(job_id, body, {"idempotency-key": "key"})

    assert answer.status_code == 400, answer.text
    (error,) = answer.json()["userErrors"]
    assert set(error) == {"code", "message", "path", "retryAt"}
    assert error["code"] == "INVALID_INPUT"
    assert (error["path"] or []) == (path or [])
    assert agent.requests == []


async def test_refusals_have_their_status(api: Api, agent: ScriptedAgent) -> None:
    agent_id = await api.agent(agent.url)
    job_id = await api.job(agent_id)
    unknown = "job_01h455vb4pex5vsknk084sn02q"
    asked = [
        (await api.execute(await api.job()), 409, "NOT_EXECUTABLE"),
        (await api.execute(job_id, b'{"expectedRevision": 7}'), 409, "STALE_REVISION"),
        (await api.execute(job_id, b'{"force": true, "reason": "now"}'), 403, "FORBIDDEN"),
        (await api.execute(unknown), 404, "NOT_FOUND"),
        (await api.execute("nonsense"), 404, "NOT_FOUND"),
        (await api.get(f"/api/jobs/{unknown}"), 404, "NOT_FOUND"),
        (await api.get(f"/api/jobs/{unknown}/logs"), 404, "NOT_FOUND"),
    ]

    for answer, status, code in asked:
        assert (answer.status_code, answer.json()["userErrors"][0]["code"]) == (status, code)


def test_every_refusal_has_a_status() -> None:
    assert set(STATUS_OF) == set(ErrorCode)


async def test_another_persons_job_is_as_if_unknown(api: Api, agent: ScriptedAgent) -> None:
    job_id = await api.job(await api.agent(agent.url))
    stranger = api.bearer("tom")

    for answer in (
        await api.get(f"/api/jobs/{job_id}", stranger),
        await api.get(f"/api/jobs/{job_id}/logs", stranger),
        await api.execute(job_id, headers=stranger),
    ):
        assert answer.status_code == 404
        assert answer.json()["userErrors"][0]["message"] == f"There is no job {job_id!r}."
    assert (await api.get(f"/api/jobs/{job_id}", api.bearer("ada", Role.ADMIN))).status_code == 200


async def test_nobody_and_a_broken_token_are_401(api: Api) -> None:
    for headers in ({}, {"authorization": "Bearer broken"}, {"cookie": "signoff_session=broken"}):
        for path in ("/api/jobs/job_1", "/api/jobs/job_1/logs"):
            answer = await api.http.get(path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json()["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}


async def test_the_log_is_a_line_an_entry_and_every_field_of_the_schema(api: Api) -> None:
    async with ScriptedAgent(Response({"ok": False}), Response()) as agent:
        job_id = await api.job(await api.agent(agent.url))
        await api.execute(job_id)
        await api.execute(job_id)

        answer = await api.get(f"/api/jobs/{job_id}/logs")

    assert answer.headers["content-type"].startswith("application/x-ndjson")
    entries = [json.loads(line) for line in answer.text.splitlines()]
    assert entries == (await api.ask(LOGS, id=job_id))["job"]["logs"]["nodes"]
    fields = {field["name"] for field in (await api.ask(OF_A_LOG))["__type"]["fields"]}
    assert set(entries[0]) == fields - {"job"}
    assert len(entries) == 14
