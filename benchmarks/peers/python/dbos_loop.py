"""The loop as a DBOS workflow: the engine keeps the journal of steps, the steps write what the service must show."""

import json
import os
import sys

import uvloop
from dbos import DBOS, DBOSConfig
from journal import Journal, new_id, timed

config: DBOSConfig = {"name": "peer", "system_database_url": os.environ["DBOS_DATABASE"], "log_level": "ERROR"}
DBOS(config=config)
journal: Journal


@DBOS.step()
async def begin(job_id: str) -> str:
    execution_id = new_id("exe")
    await journal.commit(0, job_id, execution_id)
    return execution_id


@DBOS.step()
async def call_agent(job_id: str, execution_id: str) -> str:
    for number in journal.between("agent"):
        await journal.commit(number, job_id, execution_id)
    return str(journal.execution["answer"])


@DBOS.step()
async def validate(job_id: str, execution_id: str) -> str:
    for number in journal.between("validator"):
        await journal.commit(number, job_id, execution_id)
    return "pass"


@DBOS.step()
async def settle(job_id: str, execution_id: str) -> None:
    await journal.commit(journal.last, job_id, execution_id)


@DBOS.workflow()
async def execute(job_id: str) -> None:
    execution_id = await begin(job_id)
    await call_agent(job_id, execution_id)
    await validate(job_id, execution_id)
    await settle(job_id, execution_id)


async def run(model: str, count: int) -> dict[str, float]:
    global journal  # noqa: PLW0603
    journal = await Journal.like(model)

    async def execute_and_wait(job_id: str) -> None:
        handle = await DBOS.start_workflow_async(execute, job_id)
        await handle.get_result()

    return await timed(journal, count, execute_and_wait)


if __name__ == "__main__":
    DBOS.launch()
    print(json.dumps(uvloop.run(run(sys.argv[1], int(sys.argv[2])))))
    DBOS.destroy()
