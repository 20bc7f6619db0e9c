"""How often one person may change something: counted in the database, for all processes and all ways in together."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from db import rates
from services.refusals import ErrorCode, Refusal

if TYPE_CHECKING:
    from db.session import Database
    from services.viewer import Viewer

# What a process asks for at once: whoever is busy costs a statement for ten mutations, not one each.
LARGEST_GRANT = 10
# Granted and not used by then, it is lost: at most a tenth of what is earned meanwhile.
GRANT_SECONDS = 10.0
_PEOPLE_KEPT = 10_000


@dataclass
class _Granted:
    """What a person has left in this process, or until when they have nothing; times are monotonic."""

    left: int = 0
    until: float = 0
    nothing_until: float = 0
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class MutationRates:
    """The right to `per_minute` mutations, `burst` of them at once. See docs/adr/0010."""

    database: Database
    per_minute: int = 600
    burst: int = 200
    _people: dict[str, _Granted] = field(default_factory=dict[str, _Granted])

    async def take(self, viewer: Viewer) -> Refusal | None:
        """Count one mutation of a person; refuse it where there have been too many."""
        person = self._person(viewer.id)
        async with person.asking:
            now = time.monotonic()
            if person.left and now < person.until:
                person.left -= 1
                return None
            if now < person.nothing_until:
                return self._refused(person.nothing_until - now)
            async with self.database.begin() as tx:
                granted, wait_seconds = await rates.grant(
                    tx, viewer.id, self._wanted, interval_seconds=60 / self.per_minute, burst=self.burst
                )
            if not granted:
                # Their next tries need not trouble the database.
                person.nothing_until = time.monotonic() + wait_seconds
                return self._refused(wait_seconds)
            person.left, person.until = granted - 1, now + GRANT_SECONDS
            return None

    @property
    def _wanted(self) -> int:
        # Small beside what may come at once and what is earned in a second: what is lost is never missed.
        return max(1, min(LARGEST_GRANT, self.burst // 20, self.per_minute // 60))

    def _person(self, subject: str) -> _Granted:
        found = self._people.get(subject)
        if found is None:
            if len(self._people) >= _PEOPLE_KEPT:
                now = time.monotonic()
                self._people = {
                    id_: person
                    for id_, person in self._people.items()
                    if person.asking.locked() or max(person.until, person.nothing_until) > now
                }
            found = self._people[subject] = _Granted()
        return found

    def _refused(self, wait_seconds: float) -> Refusal:
        message = (
            f"You may change something {self.per_minute} times a minute, {self.burst} times at once."
            " Wait, then send it again."
        )
        return Refusal(ErrorCode.RATE_LIMITED, message, retry_at=datetime.now(UTC) + timedelta(seconds=wait_seconds))
