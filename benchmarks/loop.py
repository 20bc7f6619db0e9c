"""Executions per second and processor time of each, with an instant agent and an instant validator.

    python3 dev.py bench loop [--quick] [--only NAMES]

Each contestant has one process and the same PostgreSQL, sixteen executions under way at once; rounds are interleaved
and figures are medians over them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from statistics import median

from benchmarks.stand.command import carry_out, options
from benchmarks.stand.errors import BenchError
from benchmarks.stand.report import LIMIT, OURS, Row
from benchmarks.stand.stage import PEERS, ROOT, filled_database, peers_python, plain_url

CONTESTANTS = (OURS, "DBOS", LIMIT)


def run(*, quick: bool, only: Sequence[str] = CONTESTANTS) -> list[Row]:
    """Measure."""
    count, rounds = (100, 1) if quick else (300, 3)
    found: dict[str, list[Mapping[str, float]]] = {}
    with filled_database(100) as url:
        plain = plain_url(url)
        contestants: Mapping[str, Sequence[str]] = {
            OURS: [sys.executable, "-m", "benchmarks.stand.our_loop", url, str(count)],
            "DBOS": [peers_python(), str(PEERS / "python" / "dbos_loop.py"), str(count)],
            LIMIT: [peers_python(), str(PEERS / "python" / "limit_loop.py"), str(count)],
        }
        environment = {**os.environ, "DATABASE": plain, "DBOS_DATABASE": plain, "PYTHONWARNINGS": "ignore"}
        for _ in range(rounds):
            for name in only:
                done = subprocess.run(  # noqa: S603  (our own commands)
                    contestants[name], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
                )
                if done.returncode:
                    raise BenchError(f"{name} ended with status {done.returncode} and said last: {done.stderr[-2000:]}")
                found.setdefault(name, []).append(json.loads(done.stdout.strip().splitlines()[-1]))
    rows: list[Row] = []
    for name, measured in found.items():
        more = {key: median(item[key] for item in measured) for key in ("cpu_ms", "p50_ms")}
        rows.append(Row("executions", name, median(item["per_second"] for item in measured), "1/s", more))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = options(__doc__, CONTESTANTS)
    return carry_out(parser, lambda asked: run(quick=asked.quick, only=asked.only), arguments)


if __name__ == "__main__":
    sys.exit(main())
