"""The bus within one process."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Bell:
    """One follower's. Rung any number of times between two waits, it has rung once: there is nothing to queue."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def wait(self, timeout_seconds: float) -> bool:
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True


class InMemoryBus:
    """Rings followers on the event loop that it is used on."""

    def __init__(self) -> None:
        # The followers of one job or execution, and under None those of everything.
        self._bells: dict[str | None, set[Bell]] = {}

    def ring(self, ids: frozenset[str]) -> None:
        """Ring at once the bells of these jobs and executions, and those of everything."""
        if not ids:
            return
        for id_ in (*ids, None):
            for bell in self._bells.get(id_, ()):
                bell.ring()

    def ring_all(self) -> None:
        """Ring every bell there is."""
        for bells in self._bells.values():
            for bell in bells:
                bell.ring()

    @property
    def is_connected(self) -> bool:
        """Whether everybody who may ring is heard."""
        return True

    @property
    def followers(self) -> int:
        """How many follow."""
        return sum(map(len, self._bells.values()))

    @asynccontextmanager
    async def listen(self, id_: str | None) -> AsyncGenerator[Bell]:
        """Follow one job or execution or, with None, everything, until the context is left."""
        bell = Bell()
        self._bells.setdefault(id_, set()).add(bell)
        try:
            yield bell
        finally:
            bells = self._bells[id_]
            bells.discard(bell)
            if not bells:
                del self._bells[id_]
