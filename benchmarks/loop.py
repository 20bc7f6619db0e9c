"""Executions per second and processor time of each, with an instant agent and an instant validator.

    python3 dev.py bench loop [--quick] [--only NAMES]

Each contestant has one process and the same PostgreSQL, sixteen executions under way at once; rounds are interleaved
and figures are medians over them. The others write the rows that an execution of ours has written, in as many commits.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from statistics import median

import asyncpg

from benchmarks.stand.command import carry_out, options
from benchmarks.stand.errors import BenchError
from benchmarks.stand.report import LIMIT, OURS, Row
from benchmarks.stand.stage import PEERS, ROOT, filled_database, peers_python, plain_url

CONTESTANTS = (OURS, "DBOS", LIMIT)
# What an execution leaves: its entries, in how many commits (rows of one transaction carry its number), its verdicts.
_LATEST = """
SELECT e.id, (SELECT row(count(*), count(DISTINCT l.xmin::text)) FROM job_logs l WHERE l.execution_id = e.id),
    (SELECT count(*) FROM validations v WHERE v.execution_id = e.id)
FROM executions e JOIN jobs j ON j.latest_execution_id = e.id
WHERE e.outcome = 'accepted' AND j.status = 'completed' ORDER BY e.finished_at DESC LIMIT 1
"""


def run(*, quick: bool, only: Sequence[str] = CONTESTANTS) -> list[Row]:
    """Measure."""
    count, rounds = (100, 1) if quick else (300, 3)
    found: dict[str, list[Mapping[str, float]]] = {}
    with filled_database(100) as url:
        plain = plain_url(url)
        ours = [sys.executable, "-m", "benchmarks.stand.our_loop", url]
        _executed(OURS, [*ours, "1"], plain)
        model, *written = _latest(plain)
        peers = PEERS / "python"
        contestants: Mapping[str, Sequence[str]] = {
            OURS: [*ours, str(count)],
            "DBOS": [peers_python(), str(peers / "dbos_loop.py"), str(model), str(count)],
            LIMIT: [peers_python(), str(peers / "limit_loop.py"), str(model), str(count)],
        }
        for _ in range(rounds):
            for name in only:
                found.setdefault(name, []).append(_executed(name, contestants[name], plain))
                if _latest(plain)[1:] != written:
                    raise BenchError(f"{name} wrote {_latest(plain)[1:]} for an execution, and {OURS} {written}")
    rows: list[Row] = []
    for name, measured in found.items():
        more = {key: median(item[key] for item in measured) for key in ("cpu_ms", "p50_ms")}
        per_second = median(item["per_second"] for item in measured)
        rows.append(Row("executions, 16 at once", name, per_second, "executions/s", more))
    return rows


def _executed(name: str, command: Sequence[str], database: str) -> Mapping[str, float]:
    environment = {**os.environ, "DATABASE": database, "DBOS_DATABASE": database, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(  # noqa: S603  (our own commands)
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"{name} ended with status {done.returncode} and said last: {done.stderr[-2000:]}")
    measured: Mapping[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return measured


def _latest(database: str) -> list[object]:
    async def latest() -> list[object]:
        connection = await asyncpg.connect(database)
        try:
            return list(await connection.fetchrow(_LATEST) or ())
        finally:
            await connection.close()

    return asyncio.run(latest())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = options(__doc__, CONTESTANTS)
    return carry_out(parser, lambda asked: run(quick=asked.quick, only=asked.only), arguments)


if __name__ == "__main__":
    sys.exit(main())
