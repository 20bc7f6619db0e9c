"""What processes do by themselves, over and over."""

import asyncio

import pytest
from sqlalchemy import text

from db.records import JobFilter, JobStatus
from db.session import Database
from services.housekeeping import Housekeeping
from tests.services.conftest import CLIENT, OpenHouse

# Each is none in a house that is kept.
TO_BE_DONE = {
    "jobs to be added up": "SELECT count(*) FROM job_count_changes",
    "people who have not acted lately": "SELECT count(*) FROM mutation_rates",
}


async def left(database: Database) -> dict[str, int]:
    async with database.read() as tx:
        return {what: (await tx.connection.execute(text(count))).scalar_one() for what, count in TO_BE_DONE.items()}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_jobs_are_added_up_and_who_has_not_acted_lately_is_forgotten(open_house: OpenHouse) -> None:
    async with open_house() as house:
        database = house.container.database
        await house.job(None)
        async with database.begin() as tx:
            await tx.connection.execute(text("INSERT INTO mutation_rates VALUES ('somebody', 0, 1)"))
        assert (await left(database))["people who have not acted lately"] == 1

        keeping = Housekeeping(database, forget_every_seconds=0.01, add_every_seconds=0.01)
        async with keeping.run(), asyncio.timeout(20):
            while any((await left(database)).values()):  # noqa: ASYNC110 - it rings no bell
                await asyncio.sleep(0.01)
        assert (await house.container.jobs.counts_by_status(CLIENT, JobFilter()))[JobStatus.PENDING] == 1
        assert await house.violations() == []
