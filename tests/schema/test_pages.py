"""Whatever was done, every list pages completely: each row once, forward and backward, whatever the page size."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ports import Verdict
from tests.schema.conftest import Api
from tests.schema.test_jobs_api import EXECUTE, UPDATE, new_agent, new_job

PAGE = "(first: $first, after: $after, last: $last, before: $before{more}) {{ {inner} }}"
INNER = "edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } totalCount"
SIZES = (1, 2, 3, 7, 100)
ORDERS = [
    f", orderBy: {{field: {field}, direction: {direction}}}"
    for field in ("CREATED_AT", "UPDATED_AT")
    for direction in ("ASC", "DESC")
]
steps = st.lists(st.sampled_from(["create", "edit", "execute", "execute"]), min_size=1, max_size=8)


def query_of(path: str, more: str = "") -> str:
    """A query of one page: `path` is a root field, or a field of a job."""
    page = PAGE.format(more=more, inner=INNER)
    variables = "$first: Int, $after: String, $last: Int, $before: String"
    if path == "jobs":
        return f"query Q({variables}) {{ list: jobs{page} }}"
    return f"query Q($id: ID!, {variables}) {{ job(id: $id) {{ list: {path}{page} }} }}"


async def page_of(api: Api, query: str, job_id: str | None, **arguments: Any) -> dict[str, Any]:
    variables = {"first": None, "after": None, "last": None, "before": None, **arguments}
    data = await api.data(query, **(variables if job_id is None else {"id": job_id, **variables}))
    found: dict[str, Any] = data["list"] if job_id is None else data["job"]["list"]
    return found


async def walk(api: Api, query: str, job_id: str | None, size: int, *, backward: bool) -> list[str]:
    """Every id of a list, page by page, in the list's order."""
    pages: list[list[str]] = []
    cursor: str | None = None
    while True:
        arguments = {"last": size, "before": cursor} if backward else {"first": size, "after": cursor}
        page = await page_of(api, query, job_id, **arguments)
        assert len(page["edges"]) <= size
        ids = [edge["node"]["id"] for edge in page["edges"]]
        pages = [ids, *pages] if backward else [*pages, ids]
        info = page["pageInfo"]
        if page["edges"]:
            assert (info["startCursor"], info["endCursor"]) == (page["edges"][0]["cursor"], page["edges"][-1]["cursor"])
        if not (info["hasPreviousPage"] if backward else info["hasNextPage"]):
            found = [id_ for ids in pages for id_ in ids]
            assert len(found) == page["totalCount"]
            return found
        cursor = info["startCursor"] if backward else info["endCursor"]


@given(steps)
@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_every_list_pages_completely(api: Api, doing: list[str]) -> None:
    api.validator.outcomes.clear()
    api.validator.outcomes.append(Verdict.PASS)
    agent_id = await new_agent(api)
    job_id = await new_job(api, agent_id)
    for step in doing:
        if step == "create":
            job_id = await new_job(api, agent_id)
        elif step == "edit":
            revision = (await api.data("query Q($id: ID!) { job(id: $id) { revision } }", id=job_id))["job"]["revision"]
            await api.data(UPDATE, input={"jobId": job_id, "expectedRevision": revision, "title": "Edited"})
        else:
            # A completed job refuses; that too leaves the lists as they were.
            await api.data(EXECUTE, input={"jobId": job_id})
    lists = [("jobs", more, None) for more in ORDERS] + [("executions", "", job_id), ("logs", "", job_id)]
    for path, more, of_job in lists:
        query = query_of(path, more)
        whole = await walk(api, query, of_job, 100, backward=False)
        assert len(set(whole)) == len(whole)
        for size in SIZES:
            if len(whole) / size <= 30:
                assert await walk(api, query, of_job, size, backward=False) == whole
                assert await walk(api, query, of_job, size, backward=True) == whole
