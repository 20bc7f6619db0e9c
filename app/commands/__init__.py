"""What the commands do, a module for each kind: a command imports only what it needs, and starts at once."""

from __future__ import annotations

import re

from rich.console import Console

FAILED, MISUSED = 1, 2

_DURATION = re.compile(r"(\d{1,9})\s*([smhd])", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class CommandError(Exception):
    """A command cannot do what it was asked; the message is one line, `status` the exit status."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


def say(line: str, *, to_stderr: bool = False) -> None:
    """Show a line as it is, however long."""
    Console(stderr=to_stderr, highlight=False, soft_wrap=True, markup=False, emoji=False).print(line)


def seconds_of(text: str) -> int:
    """Read a duration such as 30s, 15m, 1h or 90d. Raises CommandError."""
    found = _DURATION.fullmatch(text.strip())
    if found is None or int(found[1]) == 0:
        raise CommandError(f"{text!r} is no duration: write 30s, 15m, 1h or 90d.", MISUSED)
    return int(found[1]) * _SECONDS[found[2].lower()]
