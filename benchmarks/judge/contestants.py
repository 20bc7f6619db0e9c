"""The validators that can be scored: code checks, OpenAI or a compatible service, plug-ins, and trivial baselines."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, cast

from services.ports import Finding, Report, Verdict
from services.sandbox import Sandbox
from services.validators.checks import Checks
from services.validators.openai import OpenAIJudge, openai_client

if TYPE_CHECKING:
    from services.ports import Ask, Submission, Validator

# What settings name the judge and its service, and the service's own default model.
_KEY, _URL, _MODEL = "OPENAI_API_KEY", "OPENAI_BASE_URL", "SIGNOFF_OPENAI_MODEL"
DEFAULT_MODEL = "gpt-4.1-mini"

BASELINES = ("always-pass", "always-fail", "random")


@dataclass(frozen=True)
class Baseline:
    """Says the same of everything, or what a digest of the submission says: what a metric must see through."""

    name: str

    async def validate(self, submission: Submission, ask: Ask) -> Report:  # noqa: ARG002
        return Report(
            tuple(
                Finding(criterion.id, self._verdict(submission, criterion.id), "A baseline.", (), self.name)
                for criterion in submission.criteria
            )
        )

    def _verdict(self, submission: Submission, criterion_id: str) -> Verdict:
        if self.name != "random":
            return Verdict.PASS if self.name == "always-pass" else Verdict.FAIL
        drawn = hashlib.sha256(f"{submission.seed} {criterion_id} {submission.answer}".encode()).digest()
        return Verdict.PASS if drawn[0] % 2 else Verdict.FAIL


@dataclass(frozen=True)
class CodeChecks:
    """The checks alone, in the service's own sandbox. What has no check is UNSURE."""

    checks: Checks
    name: str = "checks"

    async def validate(self, submission: Submission, ask: Ask) -> Report:  # noqa: ARG002
        found = {
            finding.criterion_id: finding
            for finding in await self.checks.decide(submission.job, submission.criteria, submission.answer)
        }
        return Report(
            tuple(
                found.get(criterion.id) or Finding(criterion.id, Verdict.UNSURE, "It has no check.", (), self.name)
                for criterion in submission.criteria
            )
        )


def plug_ins() -> list[str]:
    return sorted(point.name for point in entry_points(group="signoff.validators"))


@asynccontextmanager
async def entered(
    name: str, sandbox: Sandbox, timeout_seconds: float, max_calls: int
) -> AsyncGenerator[tuple[Validator, str | None]]:
    """Make a validator by its name, and say which model it asks. Raises LookupError or ValueError for people."""
    if name in BASELINES:
        yield Baseline(name), None
    elif name == "checks":
        yield CodeChecks(Checks(sandbox)), None
    elif name == "openai":
        key = os.environ.get(_KEY)
        if not key:
            raise LookupError(f"set {_KEY} (any text, where the service at {_URL} wants none)")
        model = os.environ.get(_MODEL) or DEFAULT_MODEL
        client = openai_client(key, os.environ.get(_URL) or None, timeout_seconds)
        try:
            yield OpenAIJudge(client, model, timeout_seconds=timeout_seconds, max_calls=max_calls), model
        finally:
            await client.close()
    else:
        found = [point for point in entry_points(group="signoff.validators") if point.name == name]
        if not found:
            known = ", ".join(["checks", "openai", *BASELINES, *plug_ins()])
            raise LookupError(f"there is no validator {name!r}; there are: {known}")
        made: Any = found[0].load()()
        yield cast("Validator", await made if inspect.isawaitable(made) else made), None
