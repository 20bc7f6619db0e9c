"""The bus across processes: PostgreSQL tells the others which jobs' logs have grown, and which executions rest."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from db import notices
from services.events.in_memory import Bell, InMemoryBus

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager

    from db.session import Database

log = logging.getLogger(__name__)

# Commits of so long are told together: the first at once, and what comes meanwhile after it.
COALESCING_SECONDS = 0.02
# A connection that says nothing may be dead without anybody having been told: it is tried this often.
QUIET_SECONDS = 10.0
_FIRST_BACKOFF_SECONDS, _LONGEST_BACKOFF_SECONDS = 0.1, 5.0
# More than this are not told apart: everybody is rung, and looks.
_MOST_IDS = 10_000
_EVERYBODY = "*"


class PostgresBus:
    """Rings this process's followers at once, and those of all others through the database.

    While the connection is away, what should have been told waits; once it is back, everybody here is rung, because
    nobody knows what was missed.
    """

    def __init__(self) -> None:
        self._here = InMemoryBus()
        self._untold: set[str] = set()
        self._work = asyncio.Event()
        self._closing = False
        self.connected = asyncio.Event()
        """Whether other processes are heard just now."""
        self.on_heard: Callable[[frozenset[str]], None] | None = None
        """Gets the ids of jobs and executions of which other processes tell, and once more those of its own."""

    @property
    def is_connected(self) -> bool:
        """Whether other processes are heard just now."""
        return self.connected.is_set()

    @property
    def followers(self) -> int:
        """How many follow the bus in this process."""
        return self._here.followers

    def ring(self, ids: frozenset[str]) -> None:
        """Ring the followers here at once, and those of other processes a moment later."""
        self._here.ring(ids)
        if not ids:
            return
        self._untold |= ids if len(self._untold) < _MOST_IDS else {_EVERYBODY}
        self._work.set()

    def ring_all(self) -> None:
        """Ring every bell of this process."""
        self._here.ring_all()

    def listen(self, id_: str | None) -> AbstractAsyncContextManager[Bell]:
        """Follow one job or execution or, with None, everything, until the context is left."""
        return self._here.listen(id_)

    @asynccontextmanager
    async def run(self, database: Database) -> AsyncGenerator[None]:
        """Tell and hear while the context is open; in the end tell what is left."""
        telling = asyncio.create_task(self._keep_a_line(database))
        try:
            yield
        finally:
            self._closing = True
            self._work.set()
            # It ends by itself once everything is told, unless the database is away.
            with suppress(TimeoutError):
                await asyncio.wait_for(telling, notices.ANSWER_SECONDS)

    async def _keep_a_line(self, database: Database) -> None:
        backoff = _FIRST_BACKOFF_SECONDS
        while not self._closing:
            try:
                async with notices.line(database, self._heard) as line:
                    if backoff > _FIRST_BACKOFF_SECONDS:
                        log.info("the bus is connected again")
                    backoff = _FIRST_BACKOFF_SECONDS
                    self.connected.set()
                    self._here.ring_all()
                    await self._tell(line)
            except Exception as error:  # noqa: BLE001 - drivers raise whatever they like
                log.warning("the bus has no connection (%r): followers poll meanwhile", error)
            finally:
                self.connected.clear()
            if not self._closing:
                await asyncio.sleep(random.uniform(0.5, 1.0) * backoff)  # noqa: S311  (jitter, not cryptography)
                backoff = min(_LONGEST_BACKOFF_SECONDS, backoff * 2)

    async def _tell(self, line: notices.Line) -> None:
        """Tell others what there is to tell until closing. Raises where the line is lost."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(QUIET_SECONDS):
                    await self._next(line)
            self._work.clear()
            telling, self._untold = self._untold, set()
            try:
                await line.send(_notices_of(telling))
            except BaseException:
                self._untold |= telling
                self._work.set()
                raise
            if self._closing and not self._untold:
                return
            await asyncio.sleep(COALESCING_SECONDS)

    async def _next(self, line: notices.Line) -> None:
        """Wait until there is something to tell. Raises where the line is lost."""
        working = asyncio.ensure_future(self._work.wait())
        lost = asyncio.ensure_future(line.lost.wait())
        try:
            await asyncio.wait((working, lost), return_when=asyncio.FIRST_COMPLETED)
        finally:
            working.cancel()
            lost.cancel()
        if line.lost.is_set():
            raise ConnectionError("the database closed the connection")

    def _heard(self, notice: str) -> None:
        ids = frozenset(notice.split())
        if _EVERYBODY in ids:
            self._here.ring_all()
        else:
            self._here.ring(ids)
            if self.on_heard is not None:
                self.on_heard(ids)


def _notices_of(ids: set[str]) -> list[str]:
    """As few notices as these ids fit into."""
    if _EVERYBODY in ids:
        return [_EVERYBODY]
    made: list[str] = []
    for id_ in ids:
        if made and len(made[-1]) + 1 + len(id_) <= notices.LARGEST_NOTICE:
            made[-1] += " " + id_
        else:
            made.append(id_)
    return made
