"""What a process holds."""

import asyncio

from db.session import Database
from services.executions.claims import Claim
from services.runners.leases import Leases


async def test_who_has_lost_an_execution_to_another_task_of_its_process_is_cut_short(database: Database) -> None:
    leases = Leases(database, "one", 30)
    first, second = (asyncio.create_task(asyncio.sleep(60)) for _ in range(2))
    for fence, task in enumerate((first, second), 1):
        lease = leases.lease(0.0)
        leases.hold(Claim("exe_1", fence, lease), lease, task)

    await asyncio.wait([first], timeout=5)
    assert first.cancelled()
    leases.drop("exe_1", first)
    assert leases.tasks == [second]
    second.cancel()
