"""Turns release notes, as people write them, into a structured changelog."""

from __future__ import annotations

import re
from typing import Any

NAME = "Changelog writer"
PATH = "/changelog"
DESCRIPTION = "release notes to a structured changelog"

INPUT_SCHEMA = {
    "type": "object",
    "properties": {"notes": {"type": "string"}},
    "required": ["notes"],
}
SECTIONS = ("added", "changed", "fixed", "removed")
OUTPUT_SCHEMA = {
    "type": "object",
    "properties": {
        "version": {"type": ["string", "null"]},
        "date": {"type": ["string", "null"]},
        **{name: {"type": "array", "items": {"type": "string"}} for name in (*SECTIONS, "breaking")},
    },
    "required": ["version", "date", *SECTIONS, "breaking"],
}

_ITEM = re.compile(r"\s*(?:[-*+•]|\d+[.)])\s+(.+)")
_VERSION = re.compile(r"\bv?(\d+\.\d+(?:\.\d+)?(?:-[\w.]+)?)\b")
_DATE = re.compile(r"\b(\d{4}-\d{2}-\d{2})\b")
_BREAKING = re.compile(r"\bbreaking\b|\bno longer\b|\bincompatible\b|!:", re.IGNORECASE)
# The first that a line begins with, or else contains, decides.
_WORDS = {
    "fixed": r"fix(?:e[sd])?|bug|repair|correct(?:s|ed)?|crash",
    "removed": r"remov(?:e[sd]?|al)|drop(?:s|ped)?|delet(?:e[sd]?)|gone|no longer",
    "added": r"add(?:s|ed)?|new|introduc(?:e[sd]?)|support(?:s|ed)?|now (?:can|has)",
    "changed": r"chang(?:e[sd]?)|renam(?:e[sd]?)|improv(?:e[sd]?)|faster|updat(?:e[sd]?)|mov(?:e[sd])",
}
_STARTS = {name: re.compile(rf"(?:{words})\b", re.IGNORECASE) for name, words in _WORDS.items()}
_HOLDS = {name: re.compile(rf"\b(?:{words})\b", re.IGNORECASE) for name, words in _WORDS.items()}


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Sort every item of the notes into its section, and say which ones break something."""
    notes = str(request["notes"])
    items = [found[1].strip() for line in notes.splitlines() if (found := _ITEM.fullmatch(line))]
    version, date = _VERSION.search(notes), _DATE.search(notes)
    return {
        "version": version[1] if version else None,
        "date": date[1] if date else None,
        **{name: [item for item in items if section(item) == name] for name in SECTIONS},
        "breaking": [item for item in items if _BREAKING.search(item)],
    }


def section(item: str) -> str:
    """The section that an item belongs to."""
    for patterns, match in ((_STARTS, "match"), (_HOLDS, "search")):
        for name, pattern in patterns.items():
            if getattr(pattern, match)(item):
                return name
    return "changed"
