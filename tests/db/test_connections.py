"""How many connections a process uses, by what they are for: what operators watch."""

# A package here would hide the real db from the type checker.
# ruff: noqa: INP001

import asyncio

from sqlalchemy import text

from db.paging import prepared
from db.session import Database

LOCK = text("SELECT pg_advisory_xact_lock(1)")


async def test_transactions_and_single_reads_are_counted_apart(postgresql_url: str) -> None:
    database = Database.open(postgresql_url)

    async def read() -> None:
        async with database.read() as tx:
            await tx.fetch(prepared(tx, "a lock that is held", lambda: LOCK), {})

    async with database.begin() as tx, asyncio.timeout(30):
        await tx.connection.execute(LOCK)
        reading = asyncio.create_task(read())
        while not database.connections()["reads"][0]:  # noqa: ASYNC110 - it rings no bell
            await asyncio.sleep(0.005)
        assert database.connections() == {"work": (1, 20), "reads": (1, 10)}
    await reading
    assert database.connections() == {"work": (0, 20), "reads": (0, 10)}
    await database.close()


async def test_sqlite_has_no_lines_for_single_reads(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    async with database.read():
        assert database.connections() == {"work": (1, 8)}
    await database.close()
