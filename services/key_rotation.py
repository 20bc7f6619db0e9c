"""Changing the key that encrypts stored secrets: everything that an older key encrypted is encrypted anew."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from db import agents as agent_rows
from services.agents import Secrets

if TYPE_CHECKING:
    from db.records import Agent
    from db.session import Database

# Some milliseconds a transaction.
BATCH = 100


class KeyedSecrets(Secrets, Protocol):
    """Encrypts with one present key, reads with several."""

    def key_of(self, stored: str) -> str:
        """Name the key that encrypted this, without telling anything of it."""
        ...

    @property
    def current(self) -> str:
        """The name of the present key."""
        ...


@dataclass
class Rotated:
    """What became of the stored secrets, each counted once."""

    renewed: int = 0
    current: int = 0
    """Those that the present key had encrypted already."""
    expired: int = 0
    """Secrets of before whose time was over: they are forgotten."""
    unreadable: Counter[str] = field(default_factory=Counter[str])
    """By the name of the key that is not known here."""


async def rotate_keys(database: Database, secrets: KeyedSecrets, *, dry_run: bool = False) -> Rotated:
    """Encrypt every stored secret with the present key, a short transaction for each batch.

    What is done stays done: interrupted, it goes on from there the next time. A secret that no key reads is left
    as it is.
    """
    rotated = Rotated()
    after = ""
    while True:
        async with database.begin() as tx:
            batch = await agent_rows.secrets_after(tx, after, BATCH)
            for agent in batch:
                secret = _renewed(agent.secret, secrets, rotated)
                previous = _renewed(_unexpired(agent, rotated), secrets, rotated)
                if not dry_run and (secret, previous) != (agent.secret, agent.previous_secret):
                    await agent_rows.reseal(tx, agent.id, secret, previous)
        if len(batch) < BATCH:
            return rotated
        after = batch[-1].id


def _unexpired(agent: Agent, rotated: Rotated) -> str | None:
    until = agent.previous_secret_until
    if agent.previous_secret is not None and (until is None or until <= datetime.now(UTC)):
        rotated.expired += 1
        return None
    return agent.previous_secret


def _renewed(stored: str | None, secrets: KeyedSecrets, rotated: Rotated) -> str | None:
    if stored is None:
        return None
    try:
        plain = secrets.decrypt(stored)
    except ValueError:
        rotated.unreadable[secrets.key_of(stored)] += 1
        return stored
    if secrets.key_of(stored) == secrets.current:
        rotated.current += 1
        return stored
    rotated.renewed += 1
    return secrets.encrypt(plain)
