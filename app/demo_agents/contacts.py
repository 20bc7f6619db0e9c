"""Finds the people in a pasted e-mail thread: names, addresses, phone numbers, everybody once."""

from __future__ import annotations

import re
from email.utils import getaddresses
from typing import Any

NAME = "Contact finder"
PATH = "/contacts"
DESCRIPTION = "names, addresses and phone numbers in an e-mail thread"

INPUT_SCHEMA = {
    "type": "object",
    "properties": {"thread": {"type": "string"}, "feedback": {"type": "string"}},
    "required": ["thread"],
}
OUTPUT_SCHEMA = {
    "type": "object",
    "properties": {
        "contacts": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "email": {"type": "string"}},
                "required": ["name", "email"],
            },
        },
        "phones": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "number": {"type": "string"}},
                "required": ["name", "number"],
            },
        },
    },
    "required": ["contacts", "phones"],
}

_QUOTING = re.compile(r"^(?:>\s?)+")
_HEADER = re.compile(r"(from|to|cc|reply-to):\s*(.+)", re.IGNORECASE)
_PHONE = re.compile(r"(?<![\w.])\+?\(?\d[\d ()/.-]{6,}\d(?!\w)")
_DIGITS = range(8, 16)


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Read the headers; the signatures too, where the feedback says that phone numbers are missing.

    That is its mistake: it takes the quick way first, and mends it when told.
    """
    lines = [_QUOTING.sub("", line).strip() for line in str(request["thread"]).splitlines()]
    found = people(lines)
    told = str(request.get("feedback", "")).lower()
    return {
        "contacts": [{"name": name, "email": address} for address, name in found.items()],
        "phones": phones(lines, found) if "phone" in told else [],
    }


def people(lines: list[str]) -> dict[str, str]:
    """Addresses in the order of their first mention, each with its person's name."""
    headers = [found[2] for line in lines if (found := _HEADER.fullmatch(line))]
    named: dict[str, str] = {}
    for name, address in getaddresses(headers):
        key = address.lower()
        if "@" in key and (name or key not in named):
            # A name as its owner writes it counts for more than none.
            named[key] = named.get(key) or name.strip("'\" ")
    return {address: name or address.partition("@")[0] for address, name in named.items()}


def phones(lines: list[str], named: dict[str, str]) -> list[dict[str, str]]:
    """Phone numbers, each with whoever wrote the message that it stands in; each once."""
    writer = ""
    numbers: dict[str, dict[str, str]] = {}
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header is not None:
            if header[1].lower() == "from":
                writer = named.get(getaddresses([header[2]])[0][1].lower(), "")
            continue
        for match in _PHONE.finditer(line):
            digits = re.sub(r"\D", "", match[0])
            if len(digits) in _DIGITS:
                numbers.setdefault(digits, {"name": writer, "number": match[0].strip()})
    return list(numbers.values())
