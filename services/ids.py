"""TypeIDs (type-id specification 0.3): a prefix that says what it names, and a UUIDv7 that sorts by time."""

from __future__ import annotations

import re

from typeid import TypeID

AGENT = "agt"
JOB = "job"
EXECUTION = "exe"
VALIDATION = "val"
LOG = "log"
CRITERION = "cri"

_SUFFIX = re.compile(r"[0-7][0-9a-hjkmnp-tv-z]{25}")


def new_id(prefix: str) -> str:
    """Make a fresh id."""
    return str(TypeID(prefix=prefix))


def prefix_of(text: str) -> str | None:
    """Tell what a well-formed id names; None for anything else, which then is the id of nothing."""
    prefix, _, suffix = text.partition("_")
    return prefix if _SUFFIX.fullmatch(suffix) else None


def is_id(prefix: str, text: str) -> bool:
    """Whether the text is a well-formed id of that kind."""
    return prefix_of(text) == prefix
