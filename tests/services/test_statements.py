"""What an execution costs the database, counted and not timed: its transactions, and the round trips of each.

On SQLite these are the statements; on PostgreSQL a chain of statements is one, and a transaction of more than one
statement begins and ends with a trip of its own.

Whatever makes one of these numbers larger makes every execution slower: see docs/performance.md before raising it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from db.records import JobStatus
from db.session import Database, Transaction, is_postgresql
from services.inputs import CriterionDraft
from services.ports import Ask, Report, Submission, ValidatorError, ValidatorTroubleKind, Verdict
from tests.crash.failpoints import opener
from tests.fakes import FakeExecutor, FakeValidator
from tests.services.conftest import IS_OK, NEEDS_JUDGEMENT, OpenHouse

# Those of a house that do nothing for a single execution.
ELSEWHERE = "no transaction of an execution"

# By the function that opens the transaction: on SQLite, and on PostgreSQL.
Costs = Mapping[str, tuple[int, int]]
JUDGED: Costs = {
    # Lock the job; read its agent; take a slot, insert the execution, change the job, log that.
    "Executions._start": (6, 2 + 3),
    # Lock the job, see whether the agent is as it was read, advance, log.
    "Steps._log_request": (4, 1),
    # Lock the job, keep the answer, give the slot back, log.
    "Steps._keep": (4, 1),
    # Lock the job, advance, log.
    "_Asking._log_request": (3, 1),
    # Lock the job, finish, log the reply, insert the validation, change the job, log that.
    "Validating._settle": (6, 1),
}
CHECKED: Costs = {
    "Executions._start": (6, 2 + 3),
    "Steps._log_request": (4, 1),
    "Steps._keep": (4, 1),
    # Both sides of the checks in place of the reply.
    "Validating._settle": (7, 1),
}
BOTH: Costs = {
    **JUDGED,
    # What code has decided: logged on both sides, and kept for a validation that is interrupted.
    "_Asking._log_request": (6, 1),
    # What was kept is dropped.
    "Validating._settle": (7, 1),
}
# Execution and job for whoever waits in the end; the process looks for work twice, and may once more.
MOST_READS = 4


class Counted:
    """Counts round trips by the function that has opened their transaction, while it is on."""

    def __init__(self) -> None:
        self.on = False
        self.trips: Counter[str] = Counter()
        self.transactions: Counter[str] = Counter()
        self._present: ContextVar[str] = ContextVar("present", default=ELSEWHERE)
        self._begin = Database.begin

    def begin(self) -> Any:
        """`Database.begin`, watched."""
        counted = self

        @asynccontextmanager
        async def watched(database: Database, **how: bool) -> AsyncGenerator[Transaction]:
            name = opener()
            counted.transactions[name] += counted.on
            async with counted._begin(database, **how) as tx:
                if counted.on and tx.postgresql and not how.get("single"):
                    counted.trips[name] += 2
                token = counted._present.set(name)
                try:
                    yield tx
                finally:
                    counted._present.reset(token)

        return watched

    def heard(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        if self.on and not statement.startswith("BEGIN"):
            self.trips[self._present.get()] += 1


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Generator[Counted]:
    counted = Counted()
    monkeypatch.setattr(Database, "begin", counted.begin())
    event.listen(Engine, "before_cursor_execute", counted.heard)
    yield counted
    event.remove(Engine, "before_cursor_execute", counted.heard)


@pytest.mark.parametrize(
    ("criteria", "costs"), [((NEEDS_JUDGEMENT,), JUDGED), ((IS_OK,), CHECKED), ((IS_OK, NEEDS_JUDGEMENT), BOTH)]
)
async def test_an_execution_costs_so_many_round_trips_and_transactions(
    open_house: OpenHouse, counted: Counted, database_url: str, criteria: tuple[CriterionDraft, ...], costs: Costs
) -> None:
    fields = {"extra_executors": [("fake", FakeExecutor())], "validator": FakeValidator(), "lease_seconds": 60}
    async with open_house(**fields) as house:
        agent = await house.agent("http://127.0.0.1:9/", executor="fake")
        job = await house.job(agent, *criteria)
        counted.on = True
        result = await house.execute(job)
        counted.on = False
        assert result.job is not None
        assert result.job.status is JobStatus.COMPLETED

    # House is kept beside it, every few seconds.
    for found in (counted.trips, counted.transactions):
        del found["Housekeeping._do_some"]
    reads = counted.trips.pop(ELSEWHERE)
    kind = is_postgresql(database_url)
    assert dict(counted.trips) == {name: both[kind] for name, both in costs.items()}
    assert counted.transactions == Counter(list(costs))
    assert reads <= MOST_READS


class Persistent(FakeValidator):
    """Asks once more where its first call brings nothing."""

    async def validate(self, submission: Submission, ask: Ask) -> Report:
        try:
            return await super().validate(submission, ask)
        except ValidatorError:
            return await super().validate(submission, ask)


async def test_what_a_validator_has_failed_with_costs_no_transaction_of_its_own(
    open_house: OpenHouse, counted: Counted
) -> None:
    validator = Persistent(ValidatorError(ValidatorTroubleKind.INVALID, "No judgement."), Verdict.PASS)
    fields = {"extra_executors": [("fake", FakeExecutor())], "validator": validator, "lease_seconds": 60}
    async with open_house(**fields) as house:
        job = await house.job(await house.agent("http://127.0.0.1:9/", executor="fake"), NEEDS_JUDGEMENT)
        counted.on = True
        result = await house.execute(job)
        counted.on = False
        assert result.job is not None
        assert result.job.status is JobStatus.COMPLETED

    of_judging = {name: times for name, times in counted.transactions.items() if name.startswith(("_Asking", "Valid"))}
    assert of_judging == {"_Asking._log_request": 2, "Validating._settle": 1}
