"""`signoff token`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from app.auth import Tokens
from app.commands import MISUSED, CommandError, say, seconds_of
from app.secrets import secret_keys
from app.settings import load
from db.records import Role


def token(
    *,
    subject: Annotated[str, Parameter(help="Who it is for: the id that owns their jobs.")],
    role: Annotated[Role, Parameter(help="What they may do.")],
    name: Annotated[str | None, Parameter(help="How logs and pages call them; else the subject.")] = None,
    ttl: Annotated[str, Parameter(help="How long it is good for: 30s, 15m, 1h, 90d.")] = "1h",
) -> None:
    """Print a signed bearer token, alone on the last line."""
    ttl_seconds = seconds_of(ttl)
    tokens = Tokens.of(secret_keys(load()))
    try:
        say(tokens.issue(subject, role, name=name, ttl_seconds=ttl_seconds))
    except ValueError as error:
        raise CommandError(f"{error}.", MISUSED) from None
