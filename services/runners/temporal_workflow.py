"""The workflow of one execution. It decides nothing: the steps do, and it keeps time between them.

A module of its own, because Temporal's sandbox imports it anew for each workflow. Whatever is changed here must
still replay the histories in tests/temporal, which are those of executions that may be under way in an upgrade.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

WORKFLOW = "signoff-execution"
LOOK = "look"
CALL_AGENT, VALIDATE = "signoff-call-agent", "signoff-validate"

# Beyond the longest call of an agent (900 s), with all its checks.
_STEP_SECONDS = 3600
# What fails here is the database or a bug, never an agent or a validator: those are the steps' business.
_AGAIN = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=15))


@dataclass(frozen=True)
class Plan:
    """Which execution, and with which step it goes on. A worker that says nothing for so long is taken for dead."""

    execution_id: str
    step: str
    heartbeat_seconds: float


@dataclass(frozen=True)
class Then:
    """What comes after a step: another one, maybe later, or nothing."""

    step: str | None = None
    wait_seconds: float = 0.0


@workflow.defn(name=WORKFLOW)
class ExecutionWorkflow:
    """Runs one step after the other until there is none."""

    def __init__(self) -> None:
        self._told = False

    @workflow.signal(name=LOOK)
    def look(self) -> None:
        """Something was changed from outside: do not wait any longer."""
        self._told = True

    @workflow.run
    async def run(self, plan: Plan) -> None:
        """Run the execution to its end."""
        step = plan.step
        while True:
            self._told = False
            then = await workflow.execute_activity(
                step,
                plan.execution_id,
                result_type=Then,
                start_to_close_timeout=timedelta(seconds=_STEP_SECONDS),
                heartbeat_timeout=timedelta(seconds=plan.heartbeat_seconds),
                retry_policy=_AGAIN,
            )
            if then.step is None and not self._told:
                return
            step = then.step or step
            if then.wait_seconds > 0 and not self._told:
                await self._wait(then.wait_seconds)
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(Plan(plan.execution_id, step, plan.heartbeat_seconds))

    async def _wait(self, seconds: float) -> None:
        """Wait so long, or until told to look."""
        try:
            await workflow.wait_condition(lambda: self._told, timeout=timedelta(seconds=seconds))
        except TimeoutError:
            return
