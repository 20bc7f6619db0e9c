"""How often a person may change something: counted over all processes, exact enough, cheap, and fair to others."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from db import rates
from db.models import mutation_rates
from db.session import Database
from services.rates import LARGEST_GRANT, MutationRates
from services.refusals import ErrorCode
from tests.services.conftest import CLIENT, STRANGER, OpenHouse

SECOND = timedelta(seconds=1)


async def passed(of: MutationRates, tries: int) -> int:
    return sum([await of.take(CLIENT) is None for _ in range(tries)])


async def test_a_burst_passes_and_then_it_is_said_when_to_come_back(open_house: OpenHouse) -> None:
    async with open_house() as house:
        slow = MutationRates(house.container.database, per_minute=1, burst=3)

        assert await passed(slow, 3) == 3
        refused = await slow.take(CLIENT)

        assert refused is not None
        assert refused.code is ErrorCode.RATE_LIMITED
        assert "1 times a minute, 3 times at once" in refused.message
        assert refused.retry_at is not None
        assert timedelta() < refused.retry_at - datetime.now(UTC) <= 60 * SECOND
        again = await slow.take(CLIENT)
        assert again is not None
        assert again.retry_at is not None
        assert abs(again.retry_at - refused.retry_at) < SECOND / 10
        assert await slow.take(STRANGER) is None


async def test_of_many_at_once_no_more_pass_than_may(open_house: OpenHouse) -> None:
    async with open_house() as house:
        slow = MutationRates(house.container.database, per_minute=1, burst=20)

        refusals = await asyncio.gather(*(slow.take(CLIENT) for _ in range(60)))

        assert refusals.count(None) == 20


async def test_processes_that_share_a_database_share_the_limit(open_house: OpenHouse) -> None:
    async with open_house() as house:
        started = time.monotonic()
        one, other = (MutationRates(house.container.database) for _ in range(2))

        count = 0
        for _ in range(50):
            count += await passed(one, 7) + await passed(other, 3)

        earned = 10 * (time.monotonic() - started)
        # A process may have been granted some that it has not used.
        assert 200 - LARGEST_GRANT <= count <= 200 + earned


async def test_who_is_busy_costs_a_statement_for_ten(open_house: OpenHouse) -> None:
    async with open_house() as house:
        assert await passed(MutationRates(house.container.database), LARGEST_GRANT) == LARGEST_GRANT

        async with house.container.database.read() as tx:
            (row,) = (await tx.connection.execute(select(mutation_rates))).all()
        assert (row.subject, row.granted) == (CLIENT.id, LARGEST_GRANT)
        # All that was granted is earned within a second of the one statement.
        assert row.earned_at - time.time() <= 1


async def granted(database: Database, wanted: int, interval_seconds: float, burst: int) -> tuple[int, float]:
    async with database.begin() as tx:
        return await rates.grant(tx, "ines", wanted, interval_seconds=interval_seconds, burst=burst)


async def test_what_is_earned_meanwhile_is_granted_and_never_more_than_a_burst(open_house: OpenHouse) -> None:
    async with open_house() as house:
        database = house.container.database
        assert await granted(database, 5, 60, 5) == (5, 0)
        count, wait_seconds = await granted(database, 1, 60, 5)
        assert (count, 0 < wait_seconds <= 60) == (0, True)
        # As if those five had been two minutes ago, less a moment, then long ago.
        for ago, expected in ((119, [1, 0]), (100_000, [5, 0])):
            async with database.begin() as tx:
                moved = {"earned_at": time.time() + 5 * 60 - ago}
                await tx.connection.execute(mutation_rates.update().values(moved))
            assert [(await granted(database, 5, 60, 5))[0] for _ in range(2)] == expected


async def test_rows_that_say_nothing_any_more_are_forgotten(open_house: OpenHouse) -> None:
    async with open_house() as house:
        database = house.container.database
        await MutationRates(database, per_minute=1, burst=1).take(CLIENT)
        await MutationRates(database, per_minute=1_000_000, burst=1).take(replace(CLIENT, id="quick"))
        await asyncio.sleep(0.01)

        async with database.begin() as tx:
            assert await rates.forget_idle(tx, 100) == 1
            (row,) = (await tx.connection.execute(select(mutation_rates))).all()
        assert row.subject == CLIENT.id
