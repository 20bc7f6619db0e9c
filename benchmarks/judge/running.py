"""Has a validator judge cases, within a budget."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from benchmarks.judge.figures import Outcome
from services.ports import Report, Submission, ValidatorError, ValidatorTroubleKind, Verdict
from services.validators.openai_prices import cost_usd, price_of

if TYPE_CHECKING:
    from benchmarks.judge.cases import Case
    from services.ports import JsonValue, Reply, Validator

T = TypeVar("T")
Kind = ValidatorTroubleKind

_TRIES = 5
# So many answers in a row without any word from the validator, and it is held to be away.
_AWAY = 5
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 60.0
# Prose has four characters a token; identifiers and other scripts have fewer.
_LEAST_CHARACTERS_PER_TOKEN = 3


class StoppedError(Exception):
    """The run cannot go on; the message tells a person why. `outcomes` is what was judged until then."""

    def __init__(self, message: str, outcomes: Sequence[Outcome] = ()) -> None:
        super().__init__(message)
        self.outcomes = tuple(outcomes)


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens, where the service's list does not know the model."""

    prompt: float
    completion: float


@dataclass
class Budget:
    """What a run may cost, and how many calls a validation may take. Dollars only bound where a price is known."""

    max_usd: float
    max_calls: int
    model: str | None = None
    price: Price | None = None
    spent_usd: float = 0.0
    calls: int = 0
    reserved_usd: float = 0.0

    def at_most(self, request: JsonValue) -> float | None:
        """What a call may cost at worst: every three characters a token, and the longest answer that it allows."""
        prompt = len(json.dumps(request, ensure_ascii=False)) // _LEAST_CHARACTERS_PER_TOKEN
        limit = request.get("max_completion_tokens") if isinstance(request, Mapping) else None
        return self.priced(prompt, limit if isinstance(limit, int) else 4_096)

    def priced(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        if self.price is not None:
            return (prompt_tokens * self.price.prompt + completion_tokens * self.price.completion) / 1e6
        return cost_usd(price_of(self.model), prompt_tokens, 0, completion_tokens) if self.model else None


@dataclass
class MeteredAsk:
    """An `ask` (services.ports.Ask) that keeps no journal, but counts calls, tokens and dollars of one validation."""

    budget: Budget
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = 0.0

    async def __call__(
        self,
        request: JsonValue,
        send: Callable[[], Awaitable[Reply]],
        read: Callable[[Reply], T],
        *,
        at_most_usd: float | None = None,
    ) -> T:
        if self.calls >= self.budget.max_calls:
            raise ValidatorError(Kind.INVALID, f"{self.calls} calls brought no verdict.", code="calls_spent")
        at_most = at_most_usd if at_most_usd is not None and self.budget.price is None else self.budget.at_most(request)
        if at_most is not None and self.budget.spent_usd + self.budget.reserved_usd + at_most > self.budget.max_usd:
            raise ValidatorError(Kind.BUDGET, f"The next call may cost more than is left of {self.budget.max_usd:g} $.")
        self.calls += 1
        self.budget.calls += 1
        self.budget.reserved_usd += at_most or 0.0
        try:
            reply = await send()
        except ValidatorError as error:
            if error.reply is not None:  # else nothing was sent
                self._count(error.reply, at_most)
            raise
        finally:
            self.budget.reserved_usd -= at_most or 0.0
        self._count(reply, at_most)
        return read(reply)

    def _count(self, reply: Reply, at_most: float | None) -> None:
        self.prompt_tokens += reply.prompt_tokens or 0
        self.completion_tokens += reply.completion_tokens or 0
        cost = reply.cost_usd
        if self.budget.price is not None and reply.prompt_tokens is not None and reply.completion_tokens is not None:
            cost = self.budget.priced(reply.prompt_tokens, reply.completion_tokens)
        if cost is None:
            cost = at_most
        self.budget.spent_usd += cost or 0.0
        self.cost_usd = None if cost is None or self.cost_usd is None else self.cost_usd + cost


class _FirstRequestError(Exception):
    """Ends a validation at its first call, which tells what it may cost."""

    def __init__(self, at_most_usd: float | None) -> None:
        super().__init__()
        self.at_most_usd = at_most_usd


@dataclass(frozen=True)
class DryAsk:
    """Sends nothing."""

    budget: Budget

    async def __call__(
        self,
        request: JsonValue,
        send: Callable[[], Awaitable[Reply]],  # noqa: ARG002
        read: Callable[[Reply], T],  # noqa: ARG002
        *,
        at_most_usd: float | None = None,
    ) -> T:
        known = at_most_usd is not None and self.budget.price is None
        raise _FirstRequestError(at_most_usd if known else self.budget.at_most(request))


@dataclass(frozen=True)
class Trial:
    """One answer to be judged: a case, as it is or as an attack has changed it."""

    case: Case
    answer: str
    run: int = 1

    def submission(self, *, with_check: bool) -> Submission:
        task = self.case.task(with_check=with_check)
        seed = hashlib.sha256(f"{self.case.id} {self.run} {self.answer}".encode()).hexdigest()
        return Submission(task, task.acceptance_criteria, self.answer, seed)


@dataclass
class Bench:
    """A validator at work. Verdicts are checked as the service checks them: one for each criterion, or none counts."""

    validator: Validator
    budget: Budget
    with_check: bool
    concurrency: int = 4
    on_outcome: Callable[[], object] = field(default=lambda: None)
    unanswered: int = 0

    async def worst_case_usd(self, trials: Sequence[Trial]) -> tuple[float | None, int]:
        """What judging them may cost with every call that each may take, and how many calls that is."""
        cost: float | None = 0.0
        calls = 0
        for trial in trials:
            try:
                await self.validator.validate(trial.submission(with_check=self.with_check), DryAsk(self.budget))
            except _FirstRequestError as first:
                calls += self.budget.max_calls
                at_most = first.at_most_usd
                cost = None if cost is None or at_most is None else cost + self.budget.max_calls * at_most
        return cost, calls

    async def judge(self, trials: Sequence[Trial]) -> list[Outcome]:
        """Judge them side by side. Raises StoppedError where it makes no sense to go on."""
        places = asyncio.Semaphore(self.concurrency)
        done: dict[int, Outcome] = {}

        async def one(number: int, trial: Trial) -> None:
            async with places:
                done[number] = await self._one(trial)
                self.on_outcome()

        why: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for number, trial in enumerate(trials):
                    group.create_task(one(number, trial))
        except* StoppedError as stopped:
            why = stopped.exceptions[0]
        if why is not None:
            # Raised in there, it would be a group of one until Python 3.11.4.
            raise StoppedError(str(why), list(done.values()))
        return [done[number] for number in range(len(trials))]

    async def _one(self, trial: Trial) -> Outcome:
        ask = MeteredAsk(self.budget)
        submission = trial.submission(with_check=self.with_check)
        verdict, trouble = Verdict.UNSURE, None
        seconds = 0.0
        for tried in range(1, _TRIES + 1):
            started = time.monotonic()
            try:
                report = await self.validator.validate(submission, ask)
                verdict, trouble = _verdict(report, submission), None
            except ValidatorError as error:
                if error.kind in {Kind.CONFIG, Kind.BUDGET}:
                    raise StoppedError(error.message) from None
                trouble = f"{error.code}: {error.message}"
                if error.kind not in {Kind.UNAVAILABLE, Kind.TIMEOUT} or tried == _TRIES:
                    away = error.kind in {Kind.UNAVAILABLE, Kind.TIMEOUT}
                    self.unanswered = self.unanswered + 1 if away else 0
                    if self.unanswered >= _AWAY:
                        raise StoppedError(error.message) from None
                    break
                wait = error.retry_after_seconds or _FIRST_WAIT_SECONDS * 2 ** (tried - 1)
                ask.calls = 0  # as the service has it, the next try begins anew
                await asyncio.sleep(min(wait, _LONGEST_WAIT_SECONDS))
            else:
                self.unanswered = 0
                break
            finally:
                seconds = time.monotonic() - started
        return Outcome(
            case_id=trial.case.id,
            passes=trial.case.passes,
            verdict=verdict,
            seconds=seconds,
            pair=trial.case.pair,
            calls=ask.calls,
            cost_usd=ask.cost_usd,
            prompt_tokens=ask.prompt_tokens,
            completion_tokens=ask.completion_tokens,
            trouble=trouble,
        )


def _verdict(report: Report, submission: Submission) -> Verdict:
    (criterion,) = submission.criteria
    found = [finding.verdict for finding in report.findings if finding.criterion_id == criterion.id]
    if len(found) != 1 or len(report.findings) != 1:
        raise ValidatorError(Kind.INVALID, "It does not give each criterion one verdict.", code="no_verdict")
    return found[0]


async def relabelled(trials: Sequence[Trial], oracle: Bench) -> list[Trial]:
    """Drop the attacked answers whose label the attack itself has changed: padding makes a short answer long.

    Where code can decide the criterion, it says so; other answers keep what they lacked or had.
    """
    checkable = [trial for trial in trials if trial.case.has_check]
    decided = await oracle.judge(checkable)
    kept = {
        id(trial)
        for trial, outcome in zip(checkable, decided, strict=True)
        if outcome.verdict is (Verdict.PASS if trial.case.passes else Verdict.FAIL)
    }
    return [trial for trial in trials if not trial.case.has_check or id(trial) in kept]


def again(trials: Sequence[Trial], run: int) -> list[Trial]:
    """The same answers under other nonces."""
    return [replace(trial, run=run) for trial in trials]
