"""What a client can act on is returned as a value; what it wrote wrong in a read is raised as one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


class ErrorCode(StrEnum):
    """Why something was refused."""

    INVALID_INPUT = "invalid_input"
    NOT_FOUND = "not_found"
    FORBIDDEN = "forbidden"
    NOT_EXECUTABLE = "not_executable"
    NOT_ALLOWED_IN_STATUS = "not_allowed_in_status"
    STALE_REVISION = "stale_revision"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    OVERLOADED = "overloaded"
    RATE_LIMITED = "rate_limited"


@dataclass(frozen=True)
class Refusal:
    """A refusal: `path` names the field of the input that is to blame, `retry_at` when to come back."""

    code: ErrorCode
    message: str
    path: tuple[str, ...] | None = None
    retry_at: datetime | None = None


class BadRequestError(Exception):
    """An argument of a read is malformed (a cursor, a page size, a filter): nothing was read."""


class SlowConsumerError(Exception):
    """A follower took too long over one event. It resumes after `cursor`, the last event that it was given."""

    def __init__(self, cursor: str) -> None:
        super().__init__("You read too slowly. Subscribe again after this cursor: nothing is lost.")
        self.cursor = cursor


def invalid(message: str, *path: str) -> Refusal:
    """An INVALID_INPUT refusal about one field of the input."""
    return Refusal(ErrorCode.INVALID_INPUT, message, path or None)


def not_found(what: str, id_: str, *path: str) -> Refusal:
    """A NOT_FOUND refusal: unknown, or not the viewer's to see; nobody can tell which."""
    return Refusal(ErrorCode.NOT_FOUND, f"There is no {what} {id_!r}.", path or None)
