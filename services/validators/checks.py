"""Decides the criteria that code can decide: those with an expression or a schema."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from services.ports import Finding, Verdict
from services.sandbox import (
    ExpressionError,
    MissingKeyError,
    Sandbox,
    TooCostlyError,
    job_variable,
    outside_strings,
)
from services.strict_json import canonical

if TYPE_CHECKING:
    from services.ports import Criterion, Job, JsonValue

# Each killed check has cost its whole 2 s while others wait for the sandbox.
MAX_KILLED_CHECKS = 3
# Values that are shown next to a failed expression: few and small, for a sentence.
_MAX_SHOWN = 3
_MAX_SHOWN_CHARACTERS = 80

_ANSWER_PATH = re.compile(r"(?<![\w.])answer((?:\.[A-Za-z_]\w*(?!\w*\s*\()|\[\d+\])*)")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")


class Checks:
    """Code checks, evaluated in a sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def decide(
        self, submission_job: Job, criteria: Sequence[Criterion], answer: JsonValue
    ) -> tuple[Finding, ...]:
        """Decide those of `criteria` that carry an expression or a schema, in their order.

        What cannot be evaluated is not met: an error, a missing key or a result that is no bool is FAIL. Only
        what was killed for its cost is UNSURE; after three of those, the rest of them is not tried any more.
        """
        variables = {"answer": answer, "job": job_variable(submission_job)}
        findings: list[Finding] = []
        killed = 0
        for criterion in criteria:
            by_expression = criterion.expression is not None
            if not by_expression and criterion.json_schema is None:
                continue
            if killed >= MAX_KILLED_CHECKS:
                verdict, rationale = Verdict.UNSURE, "Not evaluated: other checks of this job took too long."
            else:
                try:
                    if criterion.expression is not None:
                        verdict, rationale = await self._by_expression(criterion.expression, variables)
                    else:
                        verdict, rationale = await self._by_schema(criterion.json_schema, answer)
                except TooCostlyError as error:
                    killed += 1
                    verdict, rationale = Verdict.UNSURE, f"The check could not be finished: {error}."
            decided_by = "expression" if by_expression else "json_schema"
            findings.append(Finding(criterion.id, verdict, rationale, (), decided_by))
        return tuple(findings)

    async def _by_expression(self, expression: str, variables: Mapping[str, JsonValue]) -> tuple[Verdict, str]:
        try:
            value = await self._sandbox.evaluate(expression, variables)
        except MissingKeyError as error:
            return Verdict.FAIL, f"`{expression}` needs something that is missing: {error}."
        except ExpressionError as error:
            return Verdict.FAIL, f"`{expression}` could not be evaluated: {error}."
        if value is True:
            return Verdict.PASS, f"`{expression}` is true."
        if value is False:
            return Verdict.FAIL, f"`{expression}` is false{_shown(expression, variables['answer'])}."
        return Verdict.FAIL, f"`{expression}` gives {_short(value)}, neither true nor false."

    async def _by_schema(self, schema: JsonValue, answer: JsonValue) -> tuple[Verdict, str]:
        # A criterion that says "format": "date" means it, although the standard makes that a mere annotation.
        problems = await self._sandbox.validate(schema, answer, formats=True)
        if not problems:
            return Verdict.PASS, "The answer meets the schema."
        return Verdict.FAIL, f"The answer does not meet the schema: {'; '.join(problems)}."


def _shown(expression: str, answer: JsonValue) -> str:
    """Show the parts of the answer that an expression names, where they are small."""
    shown: list[str] = []
    for match in _ANSWER_PATH.finditer(outside_strings(expression)):
        value = answer
        for name, index in _STEP.findall(match[1]):
            if isinstance(value, Mapping) and name in value:
                value = value[name]
            elif index and isinstance(value, Sequence) and not isinstance(value, str) and int(index) < len(value):
                value = value[int(index)]
            else:
                break
        else:
            if (text := _short(value)) and f"`{match[0]}` is {text}" not in shown:
                shown.append(f"`{match[0]}` is {text}")
    return f" ({', '.join(shown[:_MAX_SHOWN])})" if shown else ""


def _short(value: JsonValue) -> str:
    if isinstance(value, (Mapping, Sequence)) and len(value) > _MAX_SHOWN_CHARACTERS:
        return "something large"
    text = canonical(value)
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else "something large"
