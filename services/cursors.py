"""Opaque cursors and page arguments: positions in, positions out."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import orjson

from db.records import Page
from services.refusals import BadRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Position = tuple["str | int | datetime", ...]

DEFAULT_PAGE = 20
LARGEST_PAGE = 100
_LARGEST_CURSOR = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_INT64 = range(-(2**63), 2**63)


def encode(kind: str, *position: str | int | datetime) -> str:
    """Make the cursor of a position in a list of that kind."""
    parts = [(part - _EPOCH) // _MICROSECOND if isinstance(part, datetime) else part for part in position]
    return base64.urlsafe_b64encode(orjson.dumps([kind, *parts])).decode().rstrip("=")


def decode(kind: str, types: tuple[type, ...], cursor: str) -> Position:
    """Read a cursor of that kind, whose position has these types (str, int, datetime).

    Raises BadRequestError for one that this service did not make for this kind of list.
    """
    malformed = BadRequestError(f"{cursor[:40]!r} is not a cursor of this list.")
    if len(cursor) > _LARGEST_CURSOR:
        raise malformed
    try:
        parts: Any = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise malformed from None
    items = cast("list[object]", parts) if isinstance(parts, list) else []
    if len(items) != len(types) + 1 or items[0] != kind:
        raise malformed
    position: list[str | int | datetime] = []
    for part, wanted in zip(items[1:], types, strict=True):
        if wanted is str:
            if not isinstance(part, str) or not part.isascii() or "\x00" in part:
                raise malformed
            position.append(part)
        elif not isinstance(part, int) or isinstance(part, bool) or part not in _INT64:
            raise malformed
        elif wanted is datetime:
            try:
                position.append(_EPOCH + part * _MICROSECOND)
            except OverflowError:
                raise malformed from None
        else:
            position.append(part)
    return tuple(position)


def page(
    decode_position: Callable[[str], Position],
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> Page:
    """Turn Relay's page arguments into a page. Raises BadRequestError where they make none."""
    if first is not None and last is not None:
        message = "Give either `first` or `last`, not both."
        raise BadRequestError(message)
    for name, size in (("first", first), ("last", last)):
        if size is not None and not 1 <= size <= LARGEST_PAGE:
            message = f"`{name}` must be between 1 and {LARGEST_PAGE}, not {size}."
            raise BadRequestError(message)
    return Page(
        limit=first or last or DEFAULT_PAGE,
        backward=last is not None,
        after=None if after is None else decode_position(after),
        before=None if before is None else decode_position(before),
    )


# What the log's cursors are made of: `logs`, both subscriptions and `feedCursor` share them.
LOG = "l"


def log_cursor(seq: int) -> str:
    """Make the cursor of a log entry."""
    return log_cursors((seq,))[0]


def log_cursors(seqs: Iterable[int]) -> list[str]:
    """Make the cursors of log entries."""
    written = binascii.b2a_base64
    # As `encode` does, for the thousands on a page. Digits never become one of base64's two that URLs do not take.
    return [written(b'["l",%d]' % seq, newline=False).decode().rstrip("=") for seq in seqs]


def log_position(cursor: str) -> Position:
    """Read a log cursor. Raises BadRequestError."""
    return decode(LOG, (int,), cursor)
