"""How much a query reads: one statement a level, payloads and counts only where they are asked for."""

import asyncio
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, event

from db.records import WHOLE_JOB, Parts
from resolvers.loaders import Loaders
from services.ports import Verdict
from tests.schema.conftest import Api, comparing
from tests.schema.test_jobs_api import EXECUTE, new_agent, new_job
from tests.services.conftest import ADMIN

# The service works in the background too; only what the asking task starts is counted.
_asking: ContextVar[list[str] | None] = ContextVar("_asking", default=None)


@contextmanager
def statements() -> Generator[list[str]]:
    seen: list[str] = []

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        mine = _asking.get()
        if mine is not None and not statement.startswith(("BEGIN", "ROLLBACK", "COMMIT")):
            mine.append(statement)

    event.listen(Engine, "before_cursor_execute", count)
    token, once = _asking.set(seen), comparing.set(False)
    try:
        yield seen
    finally:
        _asking.reset(token)
        comparing.reset(once)
        event.remove(Engine, "before_cursor_execute", count)


async def several_jobs(api: Api, count: int) -> None:
    """Jobs with none, one, two … executions, all rejected."""
    api.validator.outcomes[0] = Verdict.FAIL
    agent_id = await new_agent(api)
    for number in range(count):
        criteria = [{"text": "Is polite."}]
        job_id = await new_job(api, agent_id if number else None, acceptanceCriteria=criteria)
        for _ in range(number):
            await api.data(EXECUTE, input={"jobId": job_id})


THREE_LEVELS = """
query Q($size: Int!) {
  jobs(first: $size) {
    totalCount
    pageInfo { hasNextPage endCursor }
    nodes {
      title
      executions(first: $size) {
        totalCount
        pageInfo { hasNextPage endCursor }
        edges {
          cursor
          node { number logs(first: $size) { totalCount pageInfo { hasNextPage } nodes { message payload } } }
        }
      }
    }
  }
}
"""


async def test_three_levels_with_counts_take_two_statements_each_whatever_the_sizes(api: Api) -> None:
    await several_jobs(api, 4)

    data: dict[str, Any] = {}
    for size in (1, 2, 20):
        with statements() as seen:
            data = await api.data(THREE_LEVELS, size=size)
        assert len(seen) == 6, seen

    jobs = data["jobs"]["nodes"]
    assert [job["executions"]["totalCount"] for job in jobs] == [3, 2, 1, 0]
    logs = [edge["node"]["logs"] for job in jobs for edge in job["executions"]["edges"]]
    assert len(logs) == 6
    # Two changes of status, and a request and a response of agent and validator.
    assert {log["totalCount"] for log in logs} == {6}


async def test_what_hangs_on_each_job_is_read_together(api: Api) -> None:
    await several_jobs(api, 4)
    query = """
    { jobs { nodes {
        availableActions
        agent { name }
        latestExecution {
          job { title latestExecution { number } } agent { name }
          validation { verdict } validations { totalCount nodes { id } }
        }
    } } }
    """

    with statements() as seen:
        await api.data(query)

    # jobs; their agents; their latest executions; of those: jobs, agents, validation, validations, count; once more
    # the latest executions of those jobs.
    assert len(seen) == 9, seen


async def test_counts_and_payloads_are_read_only_where_they_are_asked_for(api: Api) -> None:
    await several_jobs(api, 2)
    admin = api.by(ADMIN)

    async def read(query: str, **variables: Any) -> list[str]:
        with statements() as seen:
            await admin.data(query, **variables)
        return seen

    plain = await read("{ jobs { nodes { logs { nodes { message } } } } jobLogs { nodes { id } } }")
    counted = await read("{ jobs { nodes { logs { totalCount } } } }")
    full = await read(
        "query Q($yes: Boolean!) { jobLogs { edges { ...E } } } fragment E on JobLogEdge { node { ... on Node"
        " { ... on JobLog @include(if: $yes) { p: payload } } } }",
        yes=True,
    )
    left_out = await read(
        "query Q($no: Boolean = false) { jobLogs { nodes { id payload @include(if: $no) } } }",
    )

    assert (len(plain), len(counted), len(full), len(left_out)) == (3, 3, 1, 1)
    assert not any("job_logs.payload," in text or "count(" in text for text in plain)
    assert sum("count(" in text for text in counted) == 1
    assert "job_logs.payload" in full[0].replace("payload_", "")
    assert "job_logs.payload" not in left_out[0].replace("payload_", "")


LISTS = {
    "a job's": "query Q($job: ID!) { job(id: $job) { logs { %s } } }",
    "an execution's": "query Q($job: ID!) { job(id: $job) { latestExecution { logs { %s } } } }",
    "everybody's": "query Q { jobLogs { %s } }",
}


OF_JOB = "query Q($job: ID!) { job(id: $job) { %s } }"
ONE = "query Q($id: ID!) { %s }"
SHOWN: dict[str, tuple[str, str, Sequence[str | int]]] = {
    "latestExecution { %s }": ("Execution", OF_JOB, ["job", "latestExecution"]),
    "executions { nodes { %s } }": ("Execution", OF_JOB, ["job", "executions", "nodes", 0]),
    "executions { edges { cursor node { %s } } }": ("Execution", OF_JOB, ["job", "executions", "edges", 0, "node"]),
    "logs(filter: {types: [AGENT_REQUEST]}) { nodes { execution { %s } } }": (
        "Execution",
        OF_JOB,
        ["job", "logs", "nodes", 0, "execution"],
    ),
    "execution(id: $id) { %s }": ("Execution", ONE, ["execution"]),
    "node(id: $id) { ... on Execution { %s } }": ("Execution", ONE, ["node"]),
    "%s": ("Job", OF_JOB, ["job"]),
    "latestExecution { job { %s } }": ("Job", OF_JOB, ["job", "latestExecution", "job"]),
    "logs { nodes { job { %s } } }": ("Job", OF_JOB, ["job", "logs", "nodes", 0, "job"]),
    "execution(id: $id) { job { %s } }": ("Job", ONE, ["execution", "job"]),
    "jobs { nodes { %s } }": ("Job", "query { %s }", ["jobs", "nodes", 0]),
    "jobs(orderBy: {field: UPDATED_AT}) { edges { cursor node { %s } } pageInfo { endCursor } }": (
        "Job",
        "query { %s }",
        ["jobs", "edges", 0, "node"],
    ),
    "jobs(filter: {statuses: [RESUBMISSION_REQUIRED]}) { nodes { %s } }": ("Job", "query { %s }", ["jobs", "nodes", 0]),
    "node(id: $job) { ... on Job { %s } }": ("Job", "query Q($job: ID!) { %s }", ["node"]),
}


@pytest.mark.parametrize("selection", SHOWN)
async def test_each_field_says_the_same_alone(api: Api, selection: str) -> None:
    api.validator.outcomes[0] = Verdict.FAIL
    job_id = await new_job(api, await new_agent(api), acceptanceCriteria=[{"text": "Is polite."}], input={"a": 1})
    await api.data(EXECUTE, input={"jobId": job_id})
    latest = await api.data(OF_JOB % "latestExecution { id }", job=job_id)
    shown, around, path = SHOWN[selection]
    given = {"job": job_id, "id": latest["job"]["latestExecution"]["id"]}
    variables = {name: value for name, value in given.items() if f"${name}:" in around}
    fields = (await api.data(f'{{ __type(name: "{shown}") {{ fields {{ name }} }} }}'))["__type"]["fields"]
    listed = "totalCount nodes { id }"
    below = {"job": "id", "agent": "id", "requestedBy": "id", "validation": "id", "comparison": "change"}
    below |= {"validations": listed, "logs": listed, "executions": listed, "acceptanceCriteria": "text"}
    below |= {"notice": "message failedCriteria { rationale }", "owner": "displayName", "latestExecution": "number"}
    asked = {
        name: f"{name} {{ {below[name]} }}" if name in below else name for name in (field["name"] for field in fields)
    }

    async def one(asked: str) -> dict[str, Any]:
        found: Any = await api.data(around % (selection % asked), **variables)
        for step in path:
            found = found[step]
        assert isinstance(found, dict)
        return found

    whole = await one(" ".join(asked.values()))
    assert whole.keys() == asked.keys()
    for name, field in asked.items():
        assert await one(f"alias: {field}") == {"alias": whole[name]}


@pytest.mark.parametrize("query", LISTS.values(), ids=LISTS)
async def test_each_field_of_an_entry_says_the_same_alone(api: Api, query: str) -> None:
    job_id = await new_job(api, await new_agent(api))
    await api.data(EXECUTE, input={"jobId": job_id})
    admin, variables = api.by(ADMIN), {"job": job_id} if "$job" in query else {}
    fields = (await admin.data('{ __type(name: "JobLog") { fields { name } } }'))["__type"]["fields"]
    asked = {
        name: f"{name} {{ id }}" if name in {"job", "execution", "actor"} else name
        for name in (field["name"] for field in fields)
    }

    async def entries(selection: str, fragment: str = "") -> list[dict[str, Any]]:
        found: dict[str, Any] = await admin.data(f"{query % selection} {fragment}", **variables)
        while "nodes" not in found and "edges" not in found:
            (found,) = found.values()
        listed: list[dict[str, Any]] = found["nodes"] if "nodes" in found else [edge["node"] for edge in found["edges"]]
        return listed

    whole = await entries(f"nodes {{ {' '.join(asked.values())} }}")
    assert whole
    for name, field in asked.items():
        alone = [{"alias": entry[name]} for entry in whole]
        assert await entries(f"nodes {{ alias: {field} }}") == alone
        assert await entries("edges { node { ...F } }", f"fragment F on JobLog {{ alias: {field} }}") == alone
    for entry in whole:
        data = await admin.data(
            "query Q($id: ID!) { node(id: $id) { ... on JobLog { message payload job { id } } ... on Job { title } } }",
            id=entry["id"],
        )
        assert data["node"] == {name: entry[name] for name in ("message", "payload", "job")}


async def test_of_entries_nothing_is_read_that_is_not_selected(api: Api) -> None:
    await several_jobs(api, 2)

    with statements() as seen:
        await api.by(ADMIN).data("{ jobLogs { edges { cursor node { id kind: type } } } }")

    columns = seen[0].partition("FROM")[0].removeprefix("SELECT").replace("job_logs.", "").split(",")
    assert {name.strip() for name in columns} == {"id", "seq", "type"}


async def test_what_several_fields_ask_of_the_same_is_read_together(api: Api) -> None:
    await several_jobs(api, 2)
    page = "{ nodes { a: logs { nodes { id } } b: logs { edges { node { message } } } availableActions"
    latest = "one: latestExecution { number } two: latestExecution { outcome requestedBy { id } } } }"

    with statements() as seen:
        data = await api.data(f"{{ jobs {page} {latest} }}")

    # jobs; their logs; their agents and latest executions.
    assert len(seen) == 4, seen
    nodes = data["jobs"]["nodes"]
    assert [len(node["a"]["nodes"]) == len(node["b"]["edges"]) > 0 for node in nodes] == [True, True]
    assert [node["one"] for node in nodes] == [{"number": 1}, None]


# -------------------------------------------------------------------------------------------------------- loaders


async def test_parts_that_are_asked_for_apart_are_read_together() -> None:
    asked: list[tuple[Sequence[str], Parts]] = []

    async def read(keys: Sequence[str], parts: Parts = WHOLE_JOB) -> Sequence[str]:
        asked.append((list(keys), parts))
        return keys

    load = Loaders().load
    found = await asyncio.gather(
        load(partial(read, parts=Parts({"id", "title"})), "1"),
        load(partial(read, parts=Parts({"status"})), "2"),
        load(partial(read), "3"),
        load(partial(read, parts=Parts()), "4"),
    )

    assert list(found) == ["1", "2", "3", "4"]
    assert asked == [(["1", "2", "4"], {"id", "title", "status"}), (["3"], WHOLE_JOB)]


class Rows:
    """Answers keys, and remembers how it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], str]] = []

    async def read(self, who: str, keys: Sequence[str]) -> list[str]:
        self.asked.append((list(keys), who))
        if who == "nobody":
            raise LookupError(who)
        return [f"{who}:{key}" for key in keys]


async def test_equal_reads_are_one_and_each_key_is_asked_for_once() -> None:
    rows, loaders = Rows(), Loaders()

    async def late() -> str:
        await asyncio.sleep(0)
        return await loaders.load(partial(rows.read, "ada"), "3")

    found = await asyncio.gather(
        loaders.load(partial(rows.read, "ada"), "1"),
        loaders.load(partial(rows.read, "ada"), "2"),
        loaders.load(partial(rows.read, "ada"), "1"),
        loaders.load(partial(rows.read, "bob"), "1"),
        late(),
    )

    assert list(found) == ["ada:1", "ada:2", "ada:1", "bob:1", "ada:3"]
    assert rows.asked == [(["1", "2", "3"], "ada"), (["1"], "bob")]


async def test_nothing_is_remembered_from_one_batch_to_the_next() -> None:
    rows, loaders = Rows(), Loaders()

    for _ in range(2):
        await loaders.load(partial(rows.read, "ada"), "1")

    assert len(rows.asked) == 2


async def test_a_failed_read_fails_those_who_wait_and_a_cancelled_one_takes_nothing_along() -> None:
    rows, loaders = Rows(), Loaders()
    failing = [asyncio.ensure_future(loaders.load(partial(rows.read, "nobody"), key)) for key in "12"]
    waiting = [asyncio.ensure_future(loaders.load(partial(rows.read, "ada"), "1")) for _ in range(2)]
    await asyncio.sleep(0)

    waiting[0].cancel()

    assert await waiting[1] == "ada:1"
    for task in failing:
        with pytest.raises(LookupError):
            await task
