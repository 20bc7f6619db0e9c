"""The limit of the loop: bare asyncio and asyncpg, compare-and-sets and the journal's rows, in as many commits as ours.

The same rows go into the same tables (`journal`), and nothing else is done: no leases, no slots, no reading again of
what another process may have changed, no checks, no SQLAlchemy.
"""

import json
import sys

import uvloop
from journal import Journal, new_id, timed


async def run(model: str, count: int) -> dict[str, float]:
    journal = await Journal.like(model)

    async def execute(job_id: str) -> None:
        execution_id = new_id("exe")
        for number in range(journal.last + 1):
            await journal.commit(number, job_id, execution_id)

    return await timed(journal, count, execute)


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(sys.argv[1], int(sys.argv[2])))))
