"""Each limit is a setting: what is beyond it is refused in a sentence that names it, what is not is answered."""

from typing import Any

from db.records import Role
from tests.agents import Response, ScriptedAgent
from tests.app.conftest import CREATE_AGENT, CREATE_JOB, Api, OpenApi


def criterion(expression: str = "true") -> dict[str, Any]:
    return {"text": "x", "check": {"expression": expression}}


async def test_what_people_write_is_bounded_by_settings(open_api: OpenApi) -> None:
    limits = {"job_input_bytes": 20, "criteria_per_job": 2, "expression_characters": 10}
    async with open_api(**limits, agent_longest_timeout_seconds=30, agent_answer_bytes=20) as api:

        async def job(**changed: Any) -> str:
            draft = {"title": "t", "acceptanceCriteria": [criterion()], **changed}
            errors = (await api.ask(CREATE_JOB, input=draft))["createJob"]["userErrors"]
            return errors[0]["message"] if errors else ""

        async def agent(seconds: float) -> str:
            draft = {"name": "a", "endpointUrl": "http://127.0.0.1:9/", "timeoutSeconds": seconds}
            errors = (await api.ask(CREATE_AGENT, Role.ADMIN, input=draft))["createAgent"]["userErrors"]
            return errors[0]["message"] if errors else ""

        assert await job(input={"a": "x" * 12}) == ""
        assert await job(input={"a": "x" * 13}) == "input must have at most 20 bytes as JSON, not 21."
        assert await job(acceptanceCriteria=[criterion()] * 2) == ""
        assert "at most 2 acceptance criteria, not 3" in await job(acceptanceCriteria=[criterion()] * 3)
        assert await job(acceptanceCriteria=[criterion("10 < 20000")]) == ""
        assert "at most 10 characters, not 11" in await job(acceptanceCriteria=[criterion("10 < 200000")])
        assert await agent(30) == ""
        assert await agent(31) == "timeoutSeconds must be above 0 and at most 30."


async def test_an_expression_may_be_longer_where_the_operator_says_so(open_api: OpenApi) -> None:
    async with ScriptedAgent() as agent, open_api(expression_characters=3_000) as api:
        long = "answer.ok && " * 200 + "true"
        job_id = await api.job(await api.agent(agent.url), acceptanceCriteria=[criterion(long)])

        assert (await api.execute(job_id)).json()["status"] == "COMPLETED"


async def test_an_agents_answer_is_bounded_by_a_setting(open_api: OpenApi) -> None:
    async with open_api(agent_answer_bytes=20) as api:
        for size, outcome in ((20, "ACCEPTED"), (21, "AGENT_FAILED")):
            async with ScriptedAgent(Response(b'{"ok": true}'.ljust(size))) as agent:
                job_id = await api.job(await api.agent(agent.url))
                job = (await api.execute(job_id)).json()
                said = (job["notice"] or {"message": ""})["message"]
                assert (job["latestExecution"]["outcome"], "more than 20 bytes" in said) == (outcome, size > 20)


async def test_what_an_operation_asks_for_is_bounded_by_settings(open_api: OpenApi) -> None:
    limits = {"query_depth": 2, "query_introspection_depth": 3, "query_aliases": 1, "query_repeats": 2}
    async with open_api(**limits, query_tokens=40, query_nodes=30, request_bytes=400) as api:

        async def said(query: str) -> str:
            body = (await api.http.post("/graphql", json={"query": query}, headers=api.bearer())).json()
            return str(body["errors"][0]["message"]) if "errors" in body else ""

        assert await said("{ viewer { id } }") == ""
        assert "3 levels deep; at most 2" in await said("{ jobs { nodes { id } } }")
        assert "4 levels of introspection deep; at most 3" in await said("{ __schema { types { fields { name } } } }")
        assert "2 aliases; at most 1" in await said("{ a: __typename b: __typename }")
        assert "3 times side by side; at most 2" in await said("{ __typename __typename __typename }")
        assert "more than 40 tokens" in await said("{" + " a" * 50 + "}")
        assert "31 rows; at most 30" in await said("{ jobs(first: 31) { totalCount } }")
        assert await said("#" * 500) == "A request has at most 400 bytes."


async def test_introspection_and_guesses_are_settings(open_api: OpenApi) -> None:
    async def said(api: Api, query: str) -> str:
        body = (await api.http.post("/graphql", json={"query": query})).json()
        return str(body["errors"][0]["message"]) if "errors" in body else ""

    async with open_api() as open_, open_api(introspection=False) as closed, open_api(field_suggestions=False) as mute:
        assert await said(open_, "{ __schema { queryType { name } } }") == ""
        assert "introspection has been disabled" in await said(closed, "{ __schema { queryType { name } } }")
        assert "Did you mean 'viewer'?" in await said(open_, "{ viewr }")
        assert (
            await said(closed, "{ viewr }")
            == await said(mute, "{ viewr }")
            == ("Cannot query field 'viewr' on type 'Query'.")
        )
