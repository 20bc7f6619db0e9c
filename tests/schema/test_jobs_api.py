"""Jobs, agents and executions through GraphQL, on a real database: from creation to the signed-off result."""

from collections.abc import Callable
from typing import Any

import pytest
from graphql import build_schema as schema_of

from schema.build import build_schema
from services.ids import JOB, new_id
from services.ports import Verdict
from tests.schema.conftest import Api
from tests.services.conftest import ADMIN, STRANGER

CREATE_AGENT = """
mutation M($input: CreateAgentInput!) {
  createAgent(input: $input) { agent { id name hasSecret endpointUrl } userErrors { code path message } }
}
"""
UPDATE_AGENT = """
mutation M($input: UpdateAgentInput!) {
  updateAgent(input: $input) {
    agent { name enabled hasSecret outputSchema timeoutSeconds } userErrors { code path }
  }
}
"""
CREATE = """
mutation M($input: CreateJobInput!) {
  createJob(input: $input) { job { id status availableActions } replayed userErrors { code path message } }
}
"""
UPDATE = """
mutation M($input: UpdateJobInput!) {
  updateJob(input: $input) { job { revision title description input } userErrors { code path message } }
}
"""
EXECUTE = """
mutation M($input: ExecuteJobInput!) {
  executeJob(input: $input) {
    job { id status result notice { code message failedCriteria { verdict rationale criterion { text } } } }
    execution { number state outcome answer validation { verdict criteria { decidedBy evidence } } }
    replayed
    userErrors { code path message }
  }
}
"""
IS_OK = {"text": "Says ok.", "check": {"expression": "answer.ok == true"}}


async def new_agent(api: Api, **fields: Any) -> str:
    input_ = {"name": "A", "executor": "fake", "endpointUrl": "http://127.0.0.1:9/run", **fields}
    agent_id: str = (await api.by(ADMIN).data(CREATE_AGENT, input=input_))["createAgent"]["agent"]["id"]
    return agent_id


async def new_job(api: Api, agent_id: str | None = None, **fields: Any) -> str:
    input_ = {"title": "T", "acceptanceCriteria": [IS_OK], "agentId": agent_id, **fields}
    payload = (await api.data(CREATE, input=input_))["createJob"]
    assert payload["userErrors"] == []
    job_id: str = payload["job"]["id"]
    return job_id


# ------------------------------------------------------------------------------------------------------- the loop


async def test_a_job_is_created_executed_and_signed_off(api: Api) -> None:
    job_id = await new_job(api, await new_agent(api))

    done = (await api.data(EXECUTE, input={"jobId": job_id}))["executeJob"]

    assert done["userErrors"] == []
    assert (done["job"]["status"], done["job"]["result"]) == ("COMPLETED", {"ok": True})
    assert (done["execution"]["number"], done["execution"]["outcome"]) == (1, "ACCEPTED")
    assert done["execution"]["validation"]["criteria"] == [{"decidedBy": "expression", "evidence": []}]


async def test_a_rejected_job_says_why_and_what_may_be_done(api: Api) -> None:
    api.validator.outcomes.append(Verdict.FAIL)
    api.validator.outcomes.popleft()
    job_id = await new_job(api, await new_agent(api), acceptanceCriteria=[{"text": "Is polite."}])

    done = (await api.data(EXECUTE, input={"jobId": job_id}))["executeJob"]

    assert done["job"]["status"] == "RESUBMISSION_REQUIRED"
    assert done["job"]["notice"]["code"] == "REJECTED"
    assert done["job"]["notice"]["failedCriteria"] == [
        {"verdict": "FAIL", "rationale": "The fake says fail.", "criterion": {"text": "Is polite."}}
    ]
    actions = "query Q($id: ID!) { job(id: $id) { availableActions } }"
    assert (await api.data(actions, id=job_id))["job"]["availableActions"] == ["EDIT", "ASSIGN", "EXECUTE"]
    assert "FORCE_COMPLETE" in (await api.by(ADMIN).data(actions, id=job_id))["job"]["availableActions"]


async def test_a_replayed_mutation_says_so(api: Api) -> None:
    job_id = await new_job(api, await new_agent(api))
    input_ = {"jobId": job_id, "idempotencyKey": "k"}

    first, second = [(await api.data(EXECUTE, input=input_))["executeJob"] for _ in range(2)]

    assert (first["replayed"], second["replayed"]) == (False, True)
    assert second["execution"]["number"] == 1


async def test_a_refused_execute_still_shows_the_job(api: Api) -> None:
    job_id = await new_job(api)

    refused = (await api.data(EXECUTE, input={"jobId": job_id}))["executeJob"]

    assert refused["job"]["id"] == job_id
    assert [error["code"] for error in refused["userErrors"]] == ["NOT_EXECUTABLE"]


async def test_everything_that_hangs_on_an_execution_can_be_read(api: Api) -> None:
    agent_id = await new_agent(api)
    job_id = await new_job(api, agent_id)
    await api.data(EXECUTE, input={"jobId": job_id})
    query = """
    query Q($id: ID!) { job(id: $id) {
      latestExecution {
        id job { id } agent { id } requestedBy { id displayName role } jobRevision
        validations { totalCount nodes { id verdict durationMs } pageInfo { hasNextPage } }
        logs(filter: {types: [AGENT_REQUEST, AGENT_RESPONSE]}) {
          totalCount edges { cursor node { id type status execution { id } job { id } payload actor { id role } } }
        }
        queuedAt startedAt finishedAt nextRetryAt
      }
      logs(last: 1) { nodes { type fromStatus toStatus } pageInfo { hasPreviousPage hasNextPage } }
    } }
    """

    job = (await api.data(query, id=job_id))["job"]

    execution = job["latestExecution"]
    assert (execution["job"]["id"], execution["agent"]["id"]) == (job_id, agent_id)
    assert execution["requestedBy"] == {"id": "carl", "displayName": "Carl", "role": "CLIENT"}
    assert execution["validations"]["totalCount"] == 1
    assert execution["logs"]["totalCount"] == 2
    assert [edge["node"]["type"] for edge in execution["logs"]["edges"]] == ["AGENT_REQUEST", "AGENT_RESPONSE"]
    assert {edge["node"]["execution"]["id"] for edge in execution["logs"]["edges"]} == {execution["id"]}
    assert execution["logs"]["edges"][0]["node"]["actor"] == {"id": None, "role": None}
    assert execution["logs"]["edges"][1]["node"]["payload"] == {"ok": True}
    assert execution["finishedAt"].endswith("Z")
    assert len(execution["finishedAt"]) == len("2026-01-31T12:00:00.000000Z")
    assert job["logs"] == {
        "nodes": [{"type": "STATUS_CHANGE", "fromStatus": "IN_EXECUTION", "toStatus": "COMPLETED"}],
        "pageInfo": {"hasPreviousPage": True, "hasNextPage": False},
    }


async def test_any_node_is_found_by_its_id(api: Api) -> None:
    agent_id = await new_agent(api)
    job_id = await new_job(api, agent_id)
    await api.data(EXECUTE, input={"jobId": job_id})
    found = (
        await api.data(
            "query Q($id: ID!) { job(id: $id) { latestExecution { id validation { id }"
            " logs(filter: {types: [AGENT_REQUEST]}) { nodes { id } } } } }",
            id=job_id,
        )
    )["job"]["latestExecution"]
    expected = {
        agent_id: "Agent",
        job_id: "Job",
        found["id"]: "Execution",
        found["validation"]["id"]: "Validation",
        found["logs"]["nodes"][0]["id"]: "JobLog",
    }
    query = "query Q($id: ID!) { node(id: $id) { __typename id ... on JobLog { payload } } }"

    for id_, typename in expected.items():
        node = (await api.data(query, id=id_))["node"]
        assert (node["__typename"], node["id"]) == (typename, id_)
        if typename == "JobLog":
            assert node["payload"]["body"]["job_id"] == job_id
    seen_by_a_stranger = [(await api.by(STRANGER).data(query, id=id_))["node"] for id_ in expected]
    assert seen_by_a_stranger == [{"__typename": "Agent", "id": agent_id}, None, None, None, None]


# --------------------------------------------------------------------------------------------------- who may what


async def test_nobody_sees_who_they_are_and_nothing_else(api: Api) -> None:
    nobody, served = api.by(None), schema_of(build_schema().as_str())

    assert await nobody.data("{ viewer { id } __typename __schema { queryType { name } } }") == {
        "viewer": None,
        "__typename": "Query",
        "__schema": {"queryType": {"name": "Query"}},
    }
    checked = 0
    for root, type_ in (("query", served.query_type), ("mutation", served.mutation_type)):
        assert type_ is not None
        for name, field in type_.fields.items():
            if name == "viewer":
                continue
            arguments = ", ".join(f"{arg}: {EXAMPLES[name, arg]}" for arg in field.args if (name, arg) in EXAMPLES)
            selection = "" if str(field.type) in {"String!", "[String!]!"} else "{ __typename }"
            asked = f"{root} {{ {name}{f'({arguments})' if arguments else ''} {selection} }}"
            assert (await nobody.error(asked))[0] == "UNAUTHENTICATED", asked
            checked += 1
    assert checked == 23


EXAMPLES = {
    ("node", "id"): '"x"',
    ("job", "id"): '"x"',
    ("agent", "id"): '"x"',
    ("execution", "id"): '"x"',
    ("executionPreview", "jobId"): '"x"',
    ("createAgent", "input"): '{name: "x", endpointUrl: "x"}',
    ("updateAgent", "input"): '{agentId: "x"}',
    ("createJob", "input"): '{title: "x", acceptanceCriteria: []}',
    ("updateJob", "input"): '{jobId: "x", expectedRevision: 1}',
    ("assignJob", "input"): '{jobId: "x", agentId: "x"}',
    ("executeJob", "input"): '{jobId: "x"}',
    ("retryValidation", "input"): '{jobId: "x"}',
    ("cancelExecution", "input"): '{jobId: "x"}',
    ("forceAssignJob", "input"): '{jobId: "x", agentId: "x", reason: "x"}',
    ("forceCompleteJob", "input"): '{jobId: "x", reason: "x"}',
    ("forceResubmission", "input"): '{jobId: "x", reason: "x"}',
}
ADMINS_ONLY = ["createAgent", "updateAgent", "forceAssignJob", "forceCompleteJob", "forceResubmission"]


@pytest.mark.parametrize("mutation", ADMINS_ONLY)
async def test_a_client_is_forbidden_before_anything_is_looked_up(api: Api, mutation: str) -> None:
    asked = f"mutation {{ {mutation}(input: {EXAMPLES[mutation, 'input']}) {{ userErrors {{ code path }} }} }}"

    assert (await api.refusal(asked))[0] == "FORBIDDEN"
    assert (await api.by(ADMIN).refusal(asked))[0] in {"NOT_FOUND", "INVALID_INPUT"}


async def test_another_ones_job_is_as_if_unknown(api: Api) -> None:
    job_id = await new_job(api, await new_agent(api))
    await api.data(EXECUTE, input={"jobId": job_id})
    execution_id = (await api.data("{ jobs { nodes { latestExecution { id } } } }"))["jobs"]["nodes"][0][
        "latestExecution"
    ]["id"]
    stranger = api.by(STRANGER)
    query = """
    query Q($job: ID!, $execution: ID!) {
      job(id: $job) { id } execution(id: $execution) { id } executionPreview(jobId: $job) { request }
      jobs { totalCount nodes { id } } jobCounts { count }
    }
    """
    mutations: list[Callable[[str], str]] = [
        lambda id_: f'executeJob(input: {{jobId: "{id_}"}}) {{ job {{ id }} userErrors {{ code }} }}',
        lambda id_: f'retryValidation(input: {{jobId: "{id_}"}}) {{ job {{ id }} userErrors {{ code }} }}',
        lambda id_: f'cancelExecution(input: {{jobId: "{id_}"}}) {{ job {{ id }} userErrors {{ code }} }}',
        lambda id_: f'assignJob(input: {{jobId: "{id_}", agentId: "x"}}) {{ job {{ id }} userErrors {{ code }} }}',
        lambda id_: (
            f'updateJob(input: {{jobId: "{id_}", expectedRevision: 1, title: null}})'
            " { job { id } userErrors { code } }"
        ),
    ]

    for job in (job_id, new_id(JOB), "job_x", "x", ""):
        assert await stranger.data(query, job=job, execution=execution_id) == {
            "job": None,
            "execution": None,
            "executionPreview": None,
            "jobs": {"totalCount": 0, "nodes": []},
            "jobCounts": [{"count": 0}] * 5,
        }
        for mutation in mutations:
            (payload,) = (await stranger.data(f"mutation {{ {mutation(job)} }}")).values()
            assert payload == {"job": None, "userErrors": [{"code": "NOT_FOUND"}]}
    filtered = "query Q($id: ID!) { jobs { nodes { logs(filter: {executionId: $id}) { totalCount } } } }"
    await new_job(stranger)
    assert (await stranger.data(filtered, id=execution_id))["jobs"]["nodes"] == [{"logs": {"totalCount": 0}}]


async def test_admins_alone_see_endpoints_and_disabled_agents(api: Api) -> None:
    agent_id = await new_agent(api, secret="s3cret")
    job_id = await new_job(api, agent_id)
    query = """
    query Q($agent: ID!, $job: ID!) {
      agent(id: $agent) { id endpointUrl } agents { totalCount nodes { id } }
      job(id: $job) { agent { name endpointUrl hasSecret enabled } }
    }
    """

    assert (await api.data(query, agent=agent_id, job=job_id))["agent"] == {"id": agent_id, "endpointUrl": None}
    await api.by(ADMIN).data(UPDATE_AGENT, input={"agentId": agent_id, "enabled": False})

    assert await api.data(query, agent=agent_id, job=job_id) == {
        "agent": None,
        "agents": {"totalCount": 0, "nodes": []},
        "job": {"agent": {"name": "A", "endpointUrl": None, "hasSecret": True, "enabled": False}},
    }
    seen = await api.by(ADMIN).data(query, agent=agent_id, job=job_id)
    assert seen["agent"] == {"id": agent_id, "endpointUrl": "http://127.0.0.1:9/run"}
    assert seen["agents"]["totalCount"] == 1


async def test_the_log_of_all_jobs_is_for_admins(api: Api) -> None:
    await new_job(api)

    assert (await api.error("{ jobLogs { totalCount } }"))[0] == "FORBIDDEN"
    found = await api.by(ADMIN).data("{ jobLogs { totalCount nodes { jobId type } } }")
    assert found["jobLogs"]["totalCount"] == 1


# -------------------------------------------------------------------------------------------- absent, null, given


async def test_an_edit_changes_what_is_given_and_nothing_else(api: Api) -> None:
    job_id = await new_job(api, title="Before", description="D", input={"a": 1})

    edited = (await api.data(UPDATE, input={"jobId": job_id, "expectedRevision": 1, "title": "After"}))["updateJob"]

    assert edited["userErrors"] == []
    assert edited["job"] == {"revision": 2, "title": "After", "description": "D", "input": {"a": 1}}


async def test_what_leaves_a_job_as_it_is_is_no_edit(api: Api) -> None:
    job_id = await new_job(api, title="Before", input={"a": 1, "b": True})
    seen = "query ($id: ID!) { job(id: $id) { title input acceptanceCriteria { id text expression required } } }"
    job = (await api.data(seen, id=job_id))["job"]
    for criterion in job["acceptanceCriteria"]:
        criterion["check"] = {"expression": criterion.pop("expression")}

    for same in ({}, {"title": "Before"}, job):
        edited = (await api.data(UPDATE, input={"jobId": job_id, "expectedRevision": 1, **same}))["updateJob"]
        assert (edited["job"]["revision"], edited["userErrors"]) == (1, [])
    logged = await api.data("query ($id: ID!) { job(id: $id) { logs { nodes { type } } } }", id=job_id)
    assert "JOB_EDIT" not in [entry["type"] for entry in logged["job"]["logs"]["nodes"]]
    assert await api.refusal(UPDATE, input={"jobId": job_id, "expectedRevision": 7}) == (
        "STALE_REVISION",
        ["expectedRevision"],
    )


@pytest.mark.parametrize("input_", [{"a": 1.0, "b": True}, {"a": 1, "b": 1}, {"b": True, "a": 1}])
async def test_what_python_takes_for_equal_is_an_edit_where_it_is_written_otherwise(api: Api, input_: object) -> None:
    job_id = await new_job(api, input={"a": 1, "b": True})

    edited = await api.data(UPDATE, input={"jobId": job_id, "expectedRevision": 1, "input": input_})

    assert edited["updateJob"]["job"]["revision"] == 2


@pytest.mark.parametrize("field", ["title", "description", "input", "acceptanceCriteria"])
async def test_nothing_of_a_job_can_be_null(api: Api, field: str) -> None:
    job_id = await new_job(api)

    assert await api.refusal(UPDATE, input={"jobId": job_id, "expectedRevision": 1, field: None}) == (
        "INVALID_INPUT",
        [field],
    )


async def test_an_agents_fields_are_kept_cleared_or_refused(api: Api) -> None:
    agent_id = await new_agent(api, secret="s", outputSchema={"type": "object"}, timeoutSeconds=5)
    admin = api.by(ADMIN)

    kept = (await admin.data(UPDATE_AGENT, input={"agentId": agent_id, "name": "B"}))["updateAgent"]
    cleared = (await admin.data(UPDATE_AGENT, input={"agentId": agent_id, "secret": None, "outputSchema": None}))[
        "updateAgent"
    ]

    assert kept["agent"] == {
        "name": "B",
        "enabled": True,
        "hasSecret": True,
        "outputSchema": {"type": "object"},
        "timeoutSeconds": 5,
    }
    assert (cleared["agent"]["hasSecret"], cleared["agent"]["outputSchema"]) == (False, None)
    assert await admin.refusal(UPDATE_AGENT, input={"agentId": agent_id, "timeoutSeconds": None}) == (
        "INVALID_INPUT",
        ["timeoutSeconds"],
    )


# --------------------------------------------------------------------------------------------------- lists of jobs


async def test_pages_of_jobs_follow_each_other_in_either_direction(api: Api) -> None:
    made = [await new_job(api, title=f"Job {number}") for number in range(5)]
    page = """
    query Q($first: Int, $after: String, $last: Int, $before: String, $orderBy: JobOrder) {
      jobs(first: $first, after: $after, last: $last, before: $before, orderBy: $orderBy) {
        edges { cursor node { id } } totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
      }
    }
    """

    first = (await api.data(page, first=2))["jobs"]
    rest = (await api.data(page, first=9, after=first["pageInfo"]["endCursor"]))["jobs"]
    back = (await api.data(page, last=2, before=rest["pageInfo"]["startCursor"]))["jobs"]
    oldest = (await api.data(page, first=1, orderBy={"field": "UPDATED_AT", "direction": "ASC"}))["jobs"]

    assert [edge["node"]["id"] for edge in first["edges"] + rest["edges"]] == made[::-1]
    assert first["pageInfo"]["hasNextPage"]
    assert first["pageInfo"]["endCursor"] == first["edges"][-1]["cursor"]
    assert (rest["pageInfo"]["hasNextPage"], rest["pageInfo"]["hasPreviousPage"]) == (False, True)
    assert back["edges"] == first["edges"]
    assert {answer["totalCount"] for answer in (first, rest, back)} == {5}
    assert oldest["edges"][0]["node"]["id"] == made[0]
    # A cursor of another order would lead anywhere.
    assert (await api.error(page, after=oldest["pageInfo"]["endCursor"]))[0] == "INVALID_INPUT"


@pytest.mark.parametrize(
    "arguments",
    ["first: 0", "first: 101", "last: 0", "first: -1", "first: 1, last: 1", 'after: "x"', 'before: ""', 'after: "é"'],
)
async def test_page_arguments_that_make_no_page_are_refused(api: Api, arguments: str) -> None:
    code, message = await api.error(f"{{ jobs({arguments}) {{ totalCount }} }}")

    assert code == "INVALID_INPUT"
    assert "Internal" not in message


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        ('search: "needle"', 1),
        ('search: "100% _"', 0),
        ("statuses: [PENDING]", 2),
        ("statuses: []", 0),
        ('agentIds: ["agt_nonsense", "\\u0000"]', 0),
        ('ownerIds: ["carl"]', 2),
        ('createdAfter: "2100-01-01T00:00:00Z"', 0),
        ('createdAfter: "0001-01-01T00:00:00Z", createdBefore: "9999-12-31T23:59:59.999999999Z"', 2),
        ("inExecutionLongerThanSeconds: 0", 0),
        ("inExecutionLongerThanSeconds: 3162240000", 0),
    ],
)
async def test_jobs_are_filtered(api: Api, condition: str, count: int) -> None:
    await new_job(api, title="A needle in the haystack")
    await new_job(api, description="straw")
    query = f"{{ jobs(filter: {{{condition}}}) {{ totalCount nodes {{ id }} }} }}"

    found = (await api.data(query))["jobs"]

    assert (found["totalCount"], len(found["nodes"])) == (count, count)


@pytest.mark.parametrize(
    "condition",
    [
        'search: "\\u0000"',
        'ownerIds: ["\\u0000"]',
        "inExecutionLongerThanSeconds: -1",
        "inExecutionLongerThanSeconds: 1e300",
    ],
)
async def test_filters_that_no_database_takes_are_refused(api: Api, condition: str) -> None:
    assert (await api.error(f"{{ jobs(filter: {{{condition}}}) {{ totalCount }} }}"))[0] == "INVALID_INPUT"


async def test_jobs_are_counted_in_every_status(api: Api) -> None:
    await new_job(api)

    counts = (await api.data("{ jobCounts { status count } }"))["jobCounts"]

    assert counts == [
        {"status": "PENDING", "count": 1},
        {"status": "ASSIGNED", "count": 0},
        {"status": "IN_EXECUTION", "count": 0},
        {"status": "RESUBMISSION_REQUIRED", "count": 0},
        {"status": "COMPLETED", "count": 0},
    ]


# ------------------------------------------------------------------------------------------- what is shown, or not


async def test_credentials_in_an_answer_are_blanked_where_it_is_shown(api: Api) -> None:
    api.executor.outcomes[0] = {"ok": True, "session_token": "t0ken", "list": [{"password": "p"}]}
    job_id = await new_job(api, await new_agent(api))

    done = (await api.data(EXECUTE, input={"jobId": job_id}))["executeJob"]

    assert done["execution"]["answer"] == {
        "ok": True,
        "session_token": "[redacted]",
        "list": [{"password": "[redacted]"}],
    }
    assert done["job"]["result"]["session_token"] == "t0ken"


async def test_a_preview_shows_what_would_be_sent_and_sends_nothing(api: Api) -> None:
    job_id = await new_job(
        api, await new_agent(api), input={"api_key": "k"}, acceptanceCriteria=[IS_OK, {"text": "Is polite."}]
    )
    query = """
    query Q($id: ID!) { executionPreview(jobId: $id) {
      request inputErrors endpointAllowed undecidableCriteria { text } worstCaseCostUsd
    } }
    """

    seen = (await api.data(query, id=job_id))["executionPreview"]

    body = {"job_id": job_id, "input": {"api_key": "[redacted]"}}
    assert seen == {
        "request": {"method": "POST", "body": body},
        "inputErrors": [],
        "endpointAllowed": True,
        "undecidableCriteria": [{"text": "Is polite."}],
        # The fake has no price list.
        "worstCaseCostUsd": None,
    }
    admins = (await api.by(ADMIN).data(query, id=job_id))["executionPreview"]
    assert admins["request"]["url"] == "http://127.0.0.1:9/run"
    assert api.executor.deliveries == []


async def test_a_preview_of_what_cannot_be_sent_says_why(api: Api) -> None:
    query = "query Q($id: ID!) { executionPreview(jobId: $id) { request inputErrors endpointAllowed } }"
    schema = {"type": "object", "required": ["nonsense"]}

    without_agent = (await api.data(query, id=await new_job(api)))["executionPreview"]
    unfit = (await api.data(query, id=await new_job(api, await new_agent(api, inputSchema=schema))))["executionPreview"]

    assert without_agent["request"] is None
    assert "no agent" in without_agent["inputErrors"][0]
    assert unfit["request"] is None
    assert "nonsense" in unfit["inputErrors"][0]
    assert unfit["endpointAllowed"]


async def test_what_is_installed_is_told(api: Api) -> None:
    assert await api.data("{ executors validators viewer { id displayName role } }") == {
        "executors": ["fake", "http_json"],
        "validators": ["fake"],
        "viewer": {"id": "carl", "displayName": "Carl", "role": "CLIENT"},
    }
