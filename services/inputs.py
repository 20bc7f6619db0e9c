"""Checks that every use case makes of what people write: texts, JSON, criteria."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from db.records import Criterion
from services import ids
from services.refusals import Refusal, invalid
from services.strict_json import InvalidJsonError, canonical, check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db.records import JsonValue
    from services.sandbox import Sandbox

TITLE_CHARACTERS = 200
DESCRIPTION_CHARACTERS = 20_000
CRITERION_CHARACTERS = 2_000
NAME_CHARACTERS = 200
KEY_CHARACTERS = 200
REASON_CHARACTERS = 2_000


@dataclass(frozen=True)
class InputLimits:
    """The largest that an operator lets people write; sizes are in bytes of JSON."""

    job_input_bytes: int = 256 * 1024
    criteria: int = 50
    expression_characters: int = 1_000
    agent_timeout_seconds: float = 900
    # An override may set whatever an agent may answer.
    result_bytes: int = 2 * 1024 * 1024


def text(value: str, path: Sequence[str], longest: int, *, blank: bool = False) -> Refusal | None:
    """Refuse a text that no database would keep, that is too long, or that is blank where it may not be."""
    try:
        check(value)
    except InvalidJsonError as error:
        return invalid(f"{path[-1]}: {error}", *path)
    if not blank and not value.strip():
        return invalid(f"{path[-1]} must not be blank.", *path)
    if len(value) > longest:
        return invalid(f"{path[-1]} must have at most {longest} characters, not {len(value)}.", *path)
    return None


def json(value: JsonValue, path: Sequence[str], largest: int) -> Refusal | None:
    """Refuse JSON that cannot be kept as it is, or that is larger than `largest` bytes."""
    try:
        size = len(canonical(check(value)).encode())
    except InvalidJsonError as error:
        return invalid(f"{path[-1]}: {error}", *path)
    if size > largest:
        return invalid(f"{path[-1]} must have at most {largest} bytes as JSON, not {size}.", *path)
    return None


@dataclass(frozen=True)
class CriterionDraft:
    """A criterion as a person wrote it. `id` names an existing one when editing."""

    text: str
    required: bool = True
    id: str | None = None
    expression: str | None = None
    json_schema: JsonValue = None


async def criteria(
    drafts: Sequence[CriterionDraft], existing: Sequence[Criterion], sandbox: Sandbox, limits: InputLimits
) -> tuple[Criterion, ...] | Refusal:
    """Turn drafts into criteria, or say what is wrong with the first that is wrong."""
    name = "acceptanceCriteria"
    if not drafts:
        return invalid("A job needs at least one acceptance criterion.", name)
    if len(drafts) > limits.criteria:
        return invalid(f"A job has at most {limits.criteria} acceptance criteria, not {len(drafts)}.", name)
    if not any(draft.required for draft in drafts):
        return invalid("At least one acceptance criterion must be required.", name)
    known = {criterion.id for criterion in existing}
    made: list[Criterion] = []
    for index, draft in enumerate(drafts):
        path = (name, str(index))
        refused = text(draft.text, (*path, "text"), CRITERION_CHARACTERS) or await _check(draft, path, sandbox, limits)
        if refused is not None:
            return refused
        if draft.id is not None and draft.id not in known:
            return invalid(f"This job has no criterion {draft.id!r}, or it is named twice.", *path, "id")
        known.discard(draft.id or "")
        made.append(
            Criterion(
                id=draft.id or ids.new_id(ids.CRITERION),
                text=draft.text,
                required=draft.required,
                expression=draft.expression,
                json_schema=draft.json_schema,
            )
        )
    return tuple(made)


async def _check(draft: CriterionDraft, path: tuple[str, ...], sandbox: Sandbox, limits: InputLimits) -> Refusal | None:
    if draft.expression is not None and draft.json_schema is not None:
        return invalid("A criterion has either an expression or a JSON Schema, not both.", *path, "check")
    if draft.expression is not None:
        where = (*path, "check", "expression")
        refused = text(draft.expression, where, limits.expression_characters)
        if refused is not None:
            return refused
        problems = await sandbox.check_expression(draft.expression, variables=("answer", "job"))
        return invalid(f"The expression is not valid: {problems[0]}", *where) if problems else None
    if draft.json_schema is not None:
        return await schema(draft.json_schema, (*path, "check", "jsonSchema"), sandbox, limits)
    return None


async def schema(value: JsonValue, path: tuple[str, ...], sandbox: Sandbox, limits: InputLimits) -> Refusal | None:
    """Refuse what is not a JSON Schema that this service can apply safely."""
    refused = json(value, path, limits.job_input_bytes)
    if refused is not None:
        return refused
    problems = await sandbox.check_schema(value)
    return invalid(f"{path[-1]} is not a valid JSON Schema: {problems[0]}", *path) if problems else None
