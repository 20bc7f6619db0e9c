"""Random lives of a job against a small model of the design's section on the loop, crashes included."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from app.container import Container, Wiring, open_container
from db.records import Execution, ExecutionOutcome, ExecutionState, Job, JobStatus
from db.session import Database
from services.agents import AgentDraft
from services.executions.requests import Execute
from services.executions.validation import RetryPolicy
from services.jobs import JobDraft, JobEdit
from services.ports import AgentError, AgentTroubleKind, ValidatorError, ValidatorTroubleKind, Verdict
from services.refusals import ErrorCode
from tests.agents import LOOPBACK
from tests.databases import PostgreSQL, SQLite
from tests.fakes import FakeExecutor, FakeValidator
from tests.invariants import violations
from tests.services.conftest import ADMIN, CLIENT, IS_OK, NEEDS_JUDGEMENT, PlainSecrets

T = TypeVar("T")

PENDING, ASSIGNED, RUNNING, RESUBMIT, COMPLETED = (
    JobStatus.PENDING,
    JobStatus.ASSIGNED,
    JobStatus.IN_EXECUTION,
    JobStatus.RESUBMISSION_REQUIRED,
    JobStatus.COMPLETED,
)
OK = {"ok": True}
# What an agent may do: the outcome that it alone leads to, None where the answer goes on to be judged.
AGENTS: dict[str, tuple[Any, ExecutionOutcome | None]] = {
    "good": (OK, None),
    "bad": ({"ok": False}, ExecutionOutcome.REJECTED),
    "broken": (AgentError(AgentTroubleKind.ANSWER_INVALID, "x", "It is no JSON."), ExecutionOutcome.OUTPUT_INVALID),
    "fails": (AgentError(AgentTroubleKind.FAILED, "x", "It failed.", http_status=500), ExecutionOutcome.AGENT_FAILED),
    "cut": (AgentError(AgentTroubleKind.UNKNOWN, "x", "It was cut."), ExecutionOutcome.AGENT_OUTCOME_UNKNOWN),
}
AWAY = ValidatorError(ValidatorTroubleKind.UNAVAILABLE, "It is away.", retry_after_seconds=3600)
# What a validator may say of a good answer: the outcome, None where the execution waits.
VALIDATORS: dict[str, tuple[Any, ExecutionOutcome | None]] = {
    "pass": (Verdict.PASS, ExecutionOutcome.ACCEPTED),
    "fail": (Verdict.FAIL, ExecutionOutcome.REJECTED),
    "unsure": (Verdict.UNSURE, ExecutionOutcome.UNDECIDED),
    "refuses": (ValidatorError(ValidatorTroubleKind.REFUSED, "It refuses."), ExecutionOutcome.UNDECIDED),
    "away": (AWAY, None),
}
RESUBMITTED = {ExecutionOutcome.REJECTED, ExecutionOutcome.UNDECIDED, ExecutionOutcome.OUTPUT_INVALID}
agents = st.sampled_from(sorted(AGENTS))
validators = st.sampled_from(sorted(VALIDATORS))


class Life(RuleBasedStateMachine):
    """One job. The model is a handful of fields; after each step the service must agree with it."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.executor = FakeExecutor()
        self.validator = FakeValidator()
        self.stack = AsyncExitStack()
        self.container: Container
        # The model.
        self.status: JobStatus = PENDING
        self.has_agent = False
        self.revision = 1
        self.has_result = False
        self.outcome: ExecutionOutcome | None = None
        self.judged_revision = 0
        self.before: tuple[JobStatus, bool] = (PENDING, False)
        self.executions = 0
        self.sent = 0

    def do(self, action: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(action)

    @initialize()
    def start(self) -> None:
        self.do(self.open())
        created = self.do(
            self.container.agents.create(ADMIN, AgentDraft("An agent", "http://127.0.0.1:9/", executor="fake"))
        )
        assert created.agent is not None
        self.agent_id = created.agent.id
        made = self.do(self.container.jobs.create(CLIENT, JobDraft("A job", [IS_OK, NEEDS_JUDGEMENT])))
        assert made.job is not None
        self.job_id = made.job.id

    async def open(self) -> None:
        wiring = Wiring(
            self.url,
            PlainSecrets(),
            allowed_networks=LOOPBACK,
            retry=RetryPolicy(deadline_seconds=1e6),
            extra_executors=[("fake", self.executor)],
            validator=self.validator,
            drain_seconds=0,
        )
        self.container = await self.stack.enter_async_context(open_container(wiring))

    def teardown(self) -> None:
        self.executor.outcomes.clear()
        self.do(self.stack.aclose())
        self.loop.close()

    # ------------------------------------------------------------------------------------------------ what is read

    async def look(self) -> tuple[Job, Execution | None]:
        job = await self.container.jobs.get(CLIENT, self.job_id)
        assert job is not None
        if job.latest_execution_id is None:
            return job, None
        (execution,) = await self.container.executions.get_many(CLIENT, [job.latest_execution_id])
        return job, execution

    async def settle(self) -> None:
        """Wait until the execution is finished or waits for its validator."""
        async with asyncio.timeout(20):
            while True:
                _, execution = await self.look()
                if execution is None or execution.state in {ExecutionState.FINISHED, ExecutionState.WAITING_RETRY}:
                    return
                await asyncio.sleep(0.005)

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "job_id"):
            return
        job, execution = self.do(self.look())
        assert job.status is self.status
        assert job.revision == self.revision
        assert (job.result is not None) == self.has_result
        assert (execution.outcome if execution else None) is self.outcome
        assert (execution.number if execution else 0) == self.executions
        assert len(self.executor.deliveries) == self.sent

        async def broken() -> list[str]:
            async with self.container.database.read() as tx:
                return await violations(tx)

        assert self.do(broken()) == []

    # ----------------------------------------------------------------------------------------------- what is modelled

    def model_started(self) -> None:
        self.before = (self.status, self.has_result)
        self.executions += 1
        self.status, self.has_result, self.outcome = RUNNING, False, None

    def model_ended(self, outcome: ExecutionOutcome | None) -> None:
        self.outcome = outcome
        if outcome is None:
            return
        if outcome is ExecutionOutcome.ACCEPTED:
            self.status, self.has_result = COMPLETED, True
        elif outcome in RESUBMITTED:
            self.status, self.has_result = RESUBMIT, False
        else:
            self.status, self.has_result = self.before

    def model_answer(self, agent: str, validator: str) -> None:
        self.sent += 1
        ending = AGENTS[agent][1]
        self.judged_revision = self.revision
        self.model_ended(VALIDATORS[validator][1] if agent == "good" else ending)

    def script(self, agent: str, validator: str) -> None:
        self.executor.outcomes.clear()
        self.executor.outcomes.append(AGENTS[agent][0])
        self.validator.outcomes.clear()
        self.validator.outcomes.append(VALIDATORS[validator][0])

    # -------------------------------------------------------------------------------------------------------- rules

    @rule(revision_is_known=st.booleans())
    def edit(self, revision_is_known: bool) -> None:
        expected = self.revision if revision_is_known else self.revision + 1
        edit = JobEdit(expected, title=f"Revision {self.revision}")
        result = self.do(self.container.jobs.update(CLIENT, self.job_id, edit))
        if self.status in {RUNNING, COMPLETED}:
            assert [error.code for error in result.user_errors] == [ErrorCode.NOT_ALLOWED_IN_STATUS]
        elif not revision_is_known:
            assert [error.code for error in result.user_errors] == [ErrorCode.STALE_REVISION]
        else:
            assert result.user_errors == ()
            self.revision += 1

    @rule()
    def assign(self) -> None:
        result = self.do(self.container.jobs.assign(CLIENT, self.job_id, self.agent_id))
        if self.status in {RUNNING, COMPLETED}:
            assert [error.code for error in result.user_errors] == [ErrorCode.NOT_ALLOWED_IN_STATUS]
        else:
            assert result.user_errors == ()
            self.revision += 1
            self.status = ASSIGNED if self.status is PENDING else self.status
            self.has_agent = True

    @rule(agent=agents, validator=validators)
    def execute(self, agent: str, validator: str) -> None:
        self.script(agent, validator)
        result = self.do(self.container.executions.execute(CLIENT, Execute(self.job_id, wait_seconds=0)))
        if self.status not in {ASSIGNED, RESUBMIT} or not self.has_agent:
            assert [error.code for error in result.user_errors] == [ErrorCode.NOT_EXECUTABLE]
            return
        self.model_started()
        self.do(self.settle())
        self.model_answer(agent, validator)

    @precondition(lambda self: self.has_agent)
    @rule(agent=agents, validator=validators)
    def force(self, agent: str, validator: str) -> None:
        self.script(agent, validator)
        if self.status is RUNNING:
            self.model_ended(ExecutionOutcome.SUPERSEDED)
        command = Execute(self.job_id, wait_seconds=0, force=True, reason="Again.")
        result = self.do(self.container.executions.execute(ADMIN, command))
        assert result.user_errors == ()
        self.model_started()
        self.do(self.settle())
        self.model_answer(agent, validator)

    @rule(validator=validators)
    def validate_again(self, validator: str) -> None:
        self.script("good", validator)
        result = self.do(self.container.executions.retry_validation(CLIENT, self.job_id, 0))
        reopened = (
            self.status is RESUBMIT
            and self.outcome is ExecutionOutcome.UNDECIDED
            and self.judged_revision == self.revision
        )
        if self.status is RUNNING:
            assert result.user_errors == ()
            self.do(self.until_asked_again())
        elif reopened:
            assert result.user_errors == ()
            self.before = (self.status, self.has_result)
            self.status, self.outcome = RUNNING, None
            self.do(self.settle())
        else:
            assert [error.code for error in result.user_errors] == [ErrorCode.NOT_ALLOWED_IN_STATUS]
            return
        self.model_ended(VALIDATORS[validator][1])

    async def until_asked_again(self) -> None:
        asked = len(self.validator.submissions)
        async with asyncio.timeout(20):
            while len(self.validator.submissions) == asked:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.005)
        await self.settle()

    @rule()
    def cancel(self) -> None:
        result = self.do(self.container.executions.cancel(CLIENT, self.job_id, None, None))
        if self.status is RUNNING:
            assert result.user_errors == ()
            self.model_ended(ExecutionOutcome.CANCELLED)
        else:
            assert [error.code for error in result.user_errors] == [ErrorCode.NOT_ALLOWED_IN_STATUS]

    @rule(to=st.sampled_from([ASSIGNED, COMPLETED, RESUBMIT]))
    def override(self, to: JobStatus) -> None:
        jobs = self.container.jobs
        if self.status is RUNNING:
            self.model_ended(ExecutionOutcome.SUPERSEDED)
        if to is ASSIGNED:
            result = self.do(jobs.force_assign(ADMIN, self.job_id, self.agent_id, "Because."))
            self.revision += 1
            self.has_agent = True
        elif to is COMPLETED:
            result = self.do(jobs.force_complete(ADMIN, self.job_id, OK, "Because."))
        else:
            result = self.do(jobs.force_resubmission(ADMIN, self.job_id, "Because."))
        assert result.user_errors == ()
        self.status, self.has_result = to, to is COMPLETED

    @precondition(lambda self: self.has_agent and self.status in {ASSIGNED, RESUBMIT})
    @rule(validator=validators, at=st.sampled_from(["agent", "validator"]))
    def crash(self, validator: str, at: str) -> None:
        """The process dies while it waits for the agent, or for the validator; another one takes over."""
        self.script("good", validator)
        stuck = asyncio.Event()

        async def hang(*_: object) -> Any:
            stuck.set()
            await asyncio.sleep(3600)

        real = self.validator.validate
        if at == "agent":
            self.executor.outcomes.clear()
            self.executor.outcomes.append(hang)
        else:
            self.validator.validate = hang  # type: ignore[assignment]
        self.do(self.container.executions.execute(CLIENT, Execute(self.job_id, wait_seconds=0)))
        self.model_started()
        self.do(asyncio.wait_for(stuck.wait(), 20))
        self.do(self.die())
        self.validator.validate = real  # type: ignore[method-assign]
        self.script("good", validator)
        self.do(self.open())
        self.do(self.settle())
        if at == "agent":
            self.sent += 1
            self.model_ended(ExecutionOutcome.AGENT_OUTCOME_UNKNOWN)
        else:
            self.model_answer("good", validator)

    async def die(self) -> None:
        """Stop as a killed process does: nothing is let go of; then the leases expire."""

        async def nothing() -> None:
            return None

        self.container.runner._leases.release = nothing  # type: ignore[method-assign]  # noqa: SLF001
        await self.stack.aclose()
        self.stack = AsyncExitStack()
        database = Database.open(self.url)
        async with database.begin() as tx:
            long_ago = "UPDATE executions SET claimable_at = '2020-01-01 00:00:00.000000' WHERE lease_owner IS NOT NULL"
            await tx.connection.execute(text(long_ago))
        await database.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_whatever_happens_to_a_job_the_service_agrees_with_the_model(kind: str, request: pytest.FixtureRequest) -> None:
    databases: SQLite | PostgreSQL = request.getfixturevalue(kind)
    with databases.database() as url:

        class LifeHere(Life):
            pass

        LifeHere.url = url
        run_state_machine_as_test(
            LifeHere,
            settings=settings(
                max_examples=25,
                stateful_step_count=20,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
                derandomize=True,
            ),
        )
