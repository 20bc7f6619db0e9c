"""Too many mutations of one person are refused, by whichever way they come, with the time to come back at."""

from datetime import UTC, datetime, timedelta
from typing import Any

from db.records import Role
from tests.app.conftest import CREATE_JOB, PASSES, OpenApi

DRAFT = {"title": "t", "acceptanceCriteria": PASSES}
ALIASES = (
    "mutation($input: CreateJobInput!) {"
    + " ".join(f"a{n}: createJob(input: $input) {{ job {{ id }} userErrors {{ code retryAt }} }}" for n in range(4))
    + "}"
)


async def test_aliases_rest_and_graphql_count_together_and_others_not(open_api: OpenApi) -> None:
    async with open_api(mutations_burst=3, mutations_per_minute=1) as api:
        made: list[dict[str, Any]] = list((await api.ask(ALIASES, input=DRAFT)).values())

        assert [bool(payload["job"]) for payload in made] == [True, True, True, False]
        (error,) = made[3]["userErrors"]
        assert error["code"] == "RATE_LIMITED"
        left = datetime.fromisoformat(error["retryAt"]) - datetime.now(UTC)
        assert timedelta() < left <= timedelta(minutes=1)

        answer = await api.execute(made[0]["job"]["id"])
        assert (answer.status_code, answer.json()["userErrors"][0]["code"]) == (429, "RATE_LIMITED")
        assert 1 <= int(answer.headers["retry-after"]) <= 60

        assert (await api.ask("{ jobs { totalCount } }"))["jobs"] == {"totalCount": 3}
        other = (await api.ask(CREATE_JOB, Role.ADMIN, input=DRAFT))["createJob"]
        assert other["userErrors"] == []


async def test_nobody_is_not_counted(open_api: OpenApi) -> None:
    async with open_api(mutations_burst=1, mutations_per_minute=1) as api:
        for _ in range(3):
            answer = await api.http.post("/graphql", json={"query": CREATE_JOB, "variables": {"input": DRAFT}})
            assert answer.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        assert (await api.ask(CREATE_JOB, input=DRAFT))["createJob"]["userErrors"] == []
