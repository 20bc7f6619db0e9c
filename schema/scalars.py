"""The two scalars of our own, JSON and DateTime, and how answers that have them are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import strawberry
from graphql import (
    BooleanValueNode,
    FloatValueNode,
    GraphQLError,
    IntValueNode,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    StringValueNode,
    ValueNode,
    VariableNode,
)
from strawberry.scalars import JSON
from strawberry.types.scalar import ScalarDefinition

from db.records import JsonValue, StoredJson
from services.strict_json import InvalidJsonError, check, parse


def written(answer: object) -> bytes:
    """Write an answer as JSON, with what the scalars leave to this."""
    return orjson.dumps(answer, None, orjson.OPT_UTC_Z)


# ------------------------------------------------------------------------------------------------------------ JSON


def parse_json(value: object) -> JsonValue:
    """Check a value that came as a variable."""
    try:
        return check(value)
    except InvalidJsonError as error:
        message = f"JSON cannot represent this value: {error}"
        raise GraphQLError(message) from None


def serialize_json(value: Any) -> object:
    """Write a value; what nobody has read since it was stored goes into the answer as it is."""
    return orjson.Fragment(value.encode()) if value.__class__ is StoredJson else value


def parse_json_literal(node: ValueNode, variables: Mapping[str, object] | None = None) -> JsonValue:
    """Check a value that was written into the document, which may have variables within."""
    return parse_json(_plain(node, variables or {}))


def _plain(node: ValueNode, variables: Mapping[str, object]) -> object:
    match node:
        case NullValueNode():
            return None
        case StringValueNode() | BooleanValueNode():
            return node.value
        case IntValueNode() | FloatValueNode():
            # The one strict parser knows what a number may be.
            return _number(node)
        case ListValueNode():
            return [_plain(item, variables) for item in node.values]
        case ObjectValueNode():
            names = [item.name.value for item in node.fields]
            if len(set(names)) < len(names):
                raise GraphQLError("JSON cannot represent an object with the same key twice.", node)
            return {item.name.value: _plain(item.value, variables) for item in node.fields}
        case VariableNode():
            return variables.get(node.name.value)
        case _:
            raise GraphQLError("JSON cannot represent an enum value: write a string.", node)


def _number(node: IntValueNode | FloatValueNode) -> JsonValue:
    try:
        return parse(node.value)
    except InvalidJsonError as error:
        message = f"JSON cannot represent this number: {error}"
        raise GraphQLError(message, node) from None


# -------------------------------------------------------------------------------------------------------- DateTime

_RFC_3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})",
    re.ASCII,
)


def serialize_datetime(value: datetime) -> datetime | str:
    """Leave a time to `written`, which writes it as `datetime_text` does, but for six digits that are zeros."""
    return value if value.tzinfo is UTC and value.microsecond else datetime_text(value)


def datetime_text(value: datetime) -> str:
    """Write an aware time in UTC, always with microseconds: texts then sort as the times do."""
    if value.tzinfo is not UTC:
        value = value.astimezone(UTC)
    # A fifth of the time that isoformat takes.
    text = orjson.dumps(value, None, orjson.OPT_UTC_Z)[1:-1].decode()
    return text if value.microsecond else f"{text[:-1]}.000000Z"


def parse_datetime(value: object) -> datetime:
    """Read RFC 3339: date, time and offset. Digits beyond microseconds are dropped."""
    if isinstance(value, str) and _RFC_3339.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise GraphQLError("DateTime must be RFC 3339 with an offset, such as 2026-01-31T12:00:00Z.")


SCALARS: Mapping[object, ScalarDefinition] = {
    JSON: strawberry.scalar(
        name="JSON",
        description=(
            "Any JSON value: UTF-8 text without U+0000, integers of 64 bits, finite floats, no key twice, at most 64"
            " levels deep."
        ),
        specified_by_url="https://www.rfc-editor.org/rfc/rfc8259",
        serialize=serialize_json,
        parse_value=parse_json,
        parse_literal=parse_json_literal,
    ),
    datetime: strawberry.scalar(
        name="DateTime",
        description="A moment: RFC 3339, answered in UTC with microseconds, such as 2026-01-31T12:00:00.000000Z.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339",
        serialize=serialize_datetime,
        parse_value=parse_datetime,
    ),
}
