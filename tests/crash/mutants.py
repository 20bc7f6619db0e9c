"""Faults that the crash harness must find: each takes one safeguard away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, literal, literal_column, or_, select

from db import executions as execution_rows
from db import validations as validation_rows
from db.chains import Link, Place, chained
from db.models import executions
from db.types import now
from services.executions import requests, steps
from services.executions.steps import Steps
from services.executions.validation import Validating
from tests.crash.patching import put


def send_before_log() -> None:
    """The request entry is committed only once the answer is there."""
    real_log = Steps._log_request  # noqa: SLF001
    real_keep, real_trouble = Steps._keep, Steps._log_trouble  # noqa: SLF001
    owed: dict[str, tuple[Any, ...]] = {}

    async def log_later(self: Steps, claim: Any, *rest: Any) -> tuple[str, object]:
        owed[claim.execution_id] = rest
        return "", steps._Secrets(None, None)  # noqa: SLF001

    def first_log(then: Any) -> Any:
        async def logged(self: Steps, claim: Any, run: Any, response: Any, *rest: Any, **named: Any) -> Any:
            sent = await real_log(self, claim, *owed.pop(claim.execution_id))
            assert sent is not None
            response = type(response)(sent[0], response.attempt, response.duration_ms)
            return await then(self, claim, run, response, *rest, **named)

        return logged

    put(Steps, "_log_request", log_later)
    put(Steps, "_keep", first_log(real_keep))
    put(Steps, "_log_trouble", first_log(real_trouble))


def status_before_verdict() -> None:
    """The status is committed first, the validation that it stands on afterwards."""
    real_settle = Validating._settle  # noqa: SLF001
    real_creating = validation_rows.creating

    async def settle(self: Validating, asking: Any, *rest: Any) -> None:
        kept: dict[str, Any] = {}

        def creating_later(**values: Any) -> Link:
            kept.update(values)
            return Link("nothing", lambda _: select(literal(1)), {})

        put(validation_rows, "creating", creating_later)
        try:
            await real_settle(self, asking, *rest)
        finally:
            put(validation_rows, "creating", real_creating)
        async with self.database.begin() as tx:
            await chained(tx, real_creating(**kept))

    put(Validating, "_settle", settle)


def resume_without_fence() -> None:
    """Writes of a running execution no longer look at the fence, nor whether it still runs."""
    real = execution_rows._is_held  # noqa: SLF001

    def is_held(place: Place) -> tuple[ColumnElement[bool], ...]:
        its_own, *others = real(place)
        return its_own, or_(*others, literal_column("1 = 1"))

    put(execution_rows, "_is_held", is_held)


def sweeper_ignores_the_runner() -> None:
    """A process claims the executions of another runner too."""
    real = execution_rows._claim  # noqa: SLF001

    async def claim_due(tx: Any, runner: str, owner: str, lease_seconds: float, limit: int, **_: Any) -> Any:
        return await real(
            tx, "whatever is due", owner, lease_seconds, limit, lambda: executions.c.claimable_at <= now()
        )

    async def next_due_seconds(tx: Any, runner: str) -> float:
        return 0.0

    put(execution_rows, "claim_due", claim_due)
    put(execution_rows, "next_due_seconds", next_due_seconds)


def key_not_reused() -> None:
    """Each execution gets a new key, also where the last request had no answer."""

    def key_for(*_: object) -> str:
        return requests.new_key()

    put(requests, "_key_for", key_for)


MUTANTS: dict[str, Callable[[], None]] = {
    mutant.__name__: mutant
    for mutant in (
        send_before_log,
        status_before_verdict,
        resume_without_fence,
        sweeper_ignores_the_runner,
        key_not_reused,
    )
}
