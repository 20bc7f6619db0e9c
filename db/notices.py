"""How processes that share a PostgreSQL database call out to each other: LISTEN and NOTIFY on a connection of its own.

A notice is sent outside of any business transaction: NOTIFY takes one lock for all commits of the database.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from db.session import Database

CHANNEL = "signoff"
# PostgreSQL takes 8,000 bytes; the rest is for whoever counts characters.
LARGEST_NOTICE = 7_000
# What is longer under way than this does not come any more: the connection is dead, and nobody told us.
ANSWER_SECONDS = 5.0
_SEND = "SELECT pg_notify($1, notice) FROM unnest($2::text[]) AS notice"


class Line:
    """One open connection: what it hears goes to the function that it was opened with."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self.lost = asyncio.Event()
        """Set once the connection is known to be gone."""

    async def send(self, notices: Sequence[str]) -> None:
        """Send notices to every other line, each of at most LARGEST_NOTICE bytes. Raises where the line is lost.

        Without any, it still makes sure that the database is there.
        """
        await self._driver.fetch(_SEND, CHANNEL, list(notices), timeout=ANSWER_SECONDS)


@asynccontextmanager
async def line(database: Database, hear: Callable[[str], None]) -> AsyncGenerator[Line]:
    """Open a line of its own, which hears what others send from now on. Raises where the database is away."""
    engine = create_async_engine(database.url, poolclass=NullPool)
    connection = await engine.raw_connection()
    driver: Any = connection.driver_connection
    try:
        opened = Line(driver)
        own = driver.get_server_pid()

        def heard(connection: object, sender: int, channel: str, notice: object) -> None:
            del connection, channel
            if sender != own:
                hear(str(notice))

        def ended(connection: object) -> None:
            del connection
            opened.lost.set()

        driver.add_termination_listener(ended)
        async with asyncio.timeout(ANSWER_SECONDS):
            await driver.add_listener(CHANNEL, heard)
        yield opened
    finally:
        driver.terminate()
        connection.invalidate()
        await engine.dispose()
