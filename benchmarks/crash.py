"""How much survives: kill servers at random moments, for as long as asked, and count what is broken.

    python3 dev.py bench crash --kills 1000 [--seed 1] [--database sqlite|postgresql|both]

Two servers share one database and work on a stream of jobs; one or the other is killed with SIGKILL at random and
another one started. At the end every job must have come to its end, the design's invariants must hold, and the agent
(a process of its own) must have been called no oftener than the log says. Exit status 1 where anything is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from tests.crash.harness import LEASE_SECONDS, Stage, stage
from tests.crash.scenes import random_kills
from tests.databases import PostgreSQL, SQLite, postgresql_server, scratch_directory


async def run(url: str, kills: int, seed: int) -> tuple[list[str], dict[str, str]]:
    """Play one long scene; returns what is broken, and the figures."""
    with tempfile.TemporaryDirectory() as directory:
        async with stage(url, Path(directory)) as scene:
            started = time.monotonic()
            broken: list[str] = []
            try:
                await random_kills(scene, seed=seed, kills=kills, jobs=max(50, kills))
            except AssertionError as error:
                broken.append(str(error))
            broken += await scene.problems()
            return broken, await figures(scene, time.monotonic() - started)


async def figures(scene: Stage, seconds: float) -> dict[str, str]:
    async with scene.container.database.read() as tx:
        counted = text("SELECT count(*), sum(takeovers) FROM executions")
        executions, takeovers = (await tx.connection.execute(counted)).one()
        recovered = text("""
            SELECT r.timestamp, q.timestamp FROM job_logs q JOIN job_logs r ON r.answers = q.id
            WHERE r.error_code = 'outcome_unknown'
        """)
        rows = (await tx.connection.execute(recovered)).all()
    sends = sum(scene.sent().values())
    # From the request that was cut off to the entry that closes it: lease, sweep and claim.
    waits = sorted((_seconds(row[0]) - _seconds(row[1])) for row in rows)
    return {
        "executions": str(executions),
        "take-overs": str(takeovers),
        "sends per execution": f"{sends / executions:.3f}",
        "recovery, median s": f"{statistics.median(waits):.2f}" if waits else "-",
        "recovery, longest s": f"{waits[-1]:.2f}" if waits else "-",
        "seconds": f"{seconds:.0f}",
    }


def _seconds(moment: object) -> float:
    if isinstance(moment, datetime):
        return moment.timestamp()
    return datetime.fromisoformat(str(moment)).replace(tzinfo=UTC).timestamp()


def main() -> int:
    """Run, print, and say by the exit status whether anything is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    arguments = parser.parse_args()
    console = Console()
    table = Table(title=f"{arguments.kills} kills, lease {LEASE_SECONDS:g} s")
    columns: list[tuple[str, list[str], dict[str, str]]] = []
    if arguments.database in {"sqlite", "both"}:
        with scratch_directory("crash") as directory, SQLite(directory).database() as url:
            columns.append(("SQLite", *asyncio.run(run(url, arguments.kills, arguments.seed))))
    if arguments.database in {"postgresql", "both"}:
        with postgresql_server() as server, PostgreSQL.on(server) as databases, databases.database() as url:
            columns.append(("PostgreSQL", *asyncio.run(run(url, arguments.kills, arguments.seed))))
    table.add_column("")
    for name, _, _ in columns:
        table.add_column(name, justify="right")
    table.add_row("violations", *(str(len(broken)) for _, broken, _ in columns))
    for figure in columns[0][2]:
        table.add_row(figure, *(found[figure] for _, _, found in columns))
    console.print(table)
    for name, broken, _ in columns:
        for line in broken[:20]:
            console.print(f"{name}: {line}", style="red")
    return 1 if any(broken for _, broken, _ in columns) else 0


if __name__ == "__main__":
    sys.exit(main())
