"""Writes down what workflows have gone through.

    python -m tests.temporal.recording

The histories are those of executions that may be under way while a new version is rolled out, so that version's
workflow must be able to go on from each of them. Record anew only to add one; never to make a test pass.
"""

import asyncio
import dataclasses
from pathlib import Path

from temporalio.client import Client

from app.container import Wiring, open_container
from services.executions.requests import Execute
from services.ports import ValidatorError, ValidatorTroubleKind, Verdict
from services.runners.cluster import Cluster
from tests.agents import LOOPBACK
from tests.databases import PostgreSQL, postgresql_server, scratch_directory
from tests.fakes import FakeExecutor, FakeValidator
from tests.services.conftest import CLIENT, NEEDS_JUDGEMENT, QUICK_RETRIES, House, PlainSecrets
from tests.temporal_server import temporal_server

HISTORIES = Path(__file__).with_name("histories")
URL = "http://127.0.0.1:9/"
AWAY = ValidatorError(ValidatorTroubleKind.UNAVAILABLE, "It is away.")


async def record(wiring: Wiring, client: Client) -> None:
    executor, validator = FakeExecutor(), FakeValidator(Verdict.PASS, AWAY, AWAY, Verdict.PASS)
    wiring = dataclasses.replace(wiring, extra_executors=[("fake", executor)], validator=validator)
    async with open_container(wiring) as container:
        house = House(container)
        agent = await house.agent(URL, executor="fake")
        for name in ("accepted", "waited"):
            result = await house.execute(await house.job(agent, NEEDS_JUDGEMENT))
            assert result.execution is not None
            await write(client, name, result.execution.id)
        hanging = asyncio.Event()

        async def hangs(*_: object) -> None:
            hanging.set()
            await asyncio.Event().wait()

        executor.outcomes[0] = hangs
        job = await house.job(agent)
        begun = await container.executions.execute(CLIENT, Execute(job.id, wait_seconds=0))
        assert begun.execution is not None
        await hanging.wait()
        await container.executions.cancel(CLIENT, job.id, None, None)
        await write(client, "cancelled", begun.execution.id)


async def write(client: Client, name: str, execution_id: str) -> None:
    """Wait until the workflow has ended, and keep what it went through."""
    handle = client.get_workflow_handle(execution_id)
    async with asyncio.timeout(30):
        while (await handle.describe()).close_time is None:  # noqa: ASYNC110 - it rings no bell
            await asyncio.sleep(0.05)
    history = await handle.fetch_history()
    (HISTORIES / f"{name}.json").write_text(history.to_json())


async def main(url: str, address: str) -> None:
    # The identity goes into the history: not the name of this machine.
    cluster = Cluster(address, identity="recording")
    wiring = Wiring(
        url,
        PlainSecrets(),
        allowed_networks=LOOPBACK,
        retry=QUICK_RETRIES,
        drain_seconds=0,
        lease_seconds=3,
        temporal=cluster,
        is_worker=True,
    )
    await record(wiring, await Client.connect(address))


if __name__ == "__main__":
    HISTORIES.mkdir(exist_ok=True)
    with (
        scratch_directory("temporal") as directory,
        temporal_server(directory) as temporal,
        postgresql_server() as server,
        PostgreSQL.on(server) as databases,
        databases.database() as database_url,
    ):
        asyncio.run(main(database_url, temporal.address))
