"""What an answer may cost, counted and not timed: calls of functions, Python's and C's, on rows that are there already.

The budgets are what was counted when this was written (in comments), with a tenth to spare for another Python. A
change that goes beyond one costs every request: see docs/performance.md before raising it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from db.records import (
    Actor,
    Agent,
    Execution,
    ExecutionOutcome,
    ExecutionState,
    Job,
    JobLog,
    JobLogStatus,
    JobLogType,
    JobStatus,
    PageOf,
    PayloadState,
    Role,
    StoredJson,
)
from resolvers.context import Context, Services
from schema.build import build_schema
from schema.http import body_of
from schema.scalars import written
from services.viewer import Viewer
from tests.calls import Calls

NOW = datetime(2026, 1, 31, 12, 30, 15, 123456, tzinfo=UTC)
ADA = Actor("ada", "Ada", Role.CLIENT)
VIEWER = Viewer("ada", "Ada", Role.ADMIN)
LOGS = """
query { jobs(first: 50) { edges { cursor node { id title status logs(first: 20) { edges { cursor node
  { id timestamp type status message payload } } pageInfo { hasNextPage } } } } } }
"""
ROWS = """
query { jobs(first: 50) { nodes { id title status updatedAt agent { id name } owner { id displayName }
  latestExecution { number state outcome queuedAt } } } }
"""


def log(number: int) -> JobLog:
    payload = StoredJson('{"body":{"text":"lorem ipsum"}}')
    kind, status = JobLogType.AGENT_REQUEST, JobLogStatus.OK
    return JobLog(
        f"log_{number}", number, "job", None, 1, NOW, kind, status, "Sent", ADA, payload, PayloadState.STORED, 31,
        None, None, None, None, None, None,
    )  # fmt: skip


def job(number: int) -> Job:
    status = JobStatus.ASSIGNED
    return Job(f"job_{number}", 1, "Job", "", {}, (), status, None, None, "agt", ADA, f"exe_{number}", NOW, NOW, 1)


def execution(execution_id: str) -> Execution:
    state, outcome = ExecutionState.FINISHED, ExecutionOutcome.ACCEPTED
    return Execution(
        execution_id, "job", 1, 1, "agt", state, outcome, ADA, "key", None, None, NOW, NOW, NOW, None
    )  # fmt: skip


AGENT = Agent(
    "agt", "Agent", "http_json", "http://agent.test/", None, None, None, 60, 16, idempotent=True, enabled=True,
    validator=None, secret=None, created_at=NOW, updated_at=NOW,
)  # fmt: skip


class Rows:
    """Has rows, as the services would have read them."""

    def __init__(self, jobs: int, logs: int) -> None:
        self.listed = PageOf(tuple(job(number) for number in range(jobs)), has_next=False, has_previous=False)
        self.logged = PageOf(tuple(log(number) for number in range(logs)), has_next=False, has_previous=False)

    async def page(self, *_: object) -> PageOf[Job]:
        return self.listed

    async def of_jobs(self, _viewer: Viewer, ids: Sequence[str], **_: object) -> list[PageOf[JobLog]]:
        return [self.logged] * len(ids)

    async def count(self, *_: object) -> int:
        return 0

    count_of_jobs = count

    async def get_many(self, *given: Any, **_: object) -> list[Agent | Execution]:
        return [AGENT if id_ == AGENT.id else execution(id_) for id_ in given[-1]]

    @property
    def services(self) -> Services:
        return cast("Services", SimpleNamespace(jobs=self, logs=self, agents=self, executions=self))


async def calls_of(query: str, jobs: int, logs: int, *, compiled: bool = True) -> int:
    """How many calls the second execution of a query takes, its bytes included."""
    schema, rows = build_schema(compiled=compiled), Rows(jobs, logs)

    async def answered() -> None:
        result: Any = await schema.execute(query, context_value=Context(rows.services, VIEWER))
        answer = written(body_of(result))
        assert b'"errors"' not in answer, answer

    await answered()
    with Calls() as calls:
        await answered()
    return calls.counted


@pytest.mark.parametrize(
    ("what", "query", "jobs", "logs", "budget"),
    [
        ("nothing", "{ __typename }", 0, 0, 41),  # 37
        ("a page of logs", LOGS, 50, 20, 10_900),  # 9,926: some 10 for each of 1,000 rows
        ("a page of jobs", ROWS, 50, 0, 1_150),  # 1,047: some 21 for each of 50 rows, of which two fields are awaited
    ],
)
async def test_an_answer_takes_no_more_calls_than_it_did(
    what: str, query: str, jobs: int, logs: int, budget: int
) -> None:
    counted = await calls_of(query, jobs, logs)

    assert counted <= budget, f"{what}: {counted} calls"


async def test_what_is_compiled_takes_a_fraction_of_the_calls() -> None:
    compiled = await calls_of(LOGS, 10, 20)
    uncompiled = await calls_of(LOGS, 10, 20, compiled=False)

    assert compiled < uncompiled / 5, (compiled, uncompiled)
