"""Executions per second and processor time of each, with an instant agent and an instant validator.

    python3 dev.py bench loop [--quick]

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

from benchmarks.stand.report import OURS, Row, options, tell
from benchmarks.stand.stage import PEERS, ROOT, filled_database, peers_python, plain_url


def run(*, quick: bool) -> list[Row]:
    """Measure."""
    count, rounds = (100, 1) if quick else (300, 3)
    found: dict[str, list[Mapping[str, float]]] = {}
    with filled_database(100) as url:
        plain = plain_url(url)
        contestants: Mapping[str, Sequence[str]] = {
            OURS: [sys.executable, "-m", "benchmarks.stand.our_loop", url, str(count)],
            "DBOS": [peers_python(), str(PEERS / "python" / "dbos_loop.py"), str(count)],
            "limit": [peers_python(), str(PEERS / "python" / "limit_loop.py"), str(count)],
        }
        environment = {**os.environ, "DATABASE": plain, "DBOS_DATABASE": plain, "PYTHONWARNINGS": "ignore"}
        for _ in range(rounds):
            for name, command in contestants.items():
                done = subprocess.run(  # noqa: S603  (our own commands)
                    command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, f"{name}: {done.stderr[-2000:]}"
                found.setdefault(name, []).append(json.loads(done.stdout.strip().splitlines()[-1]))
    rows: list[Row] = []
    for name, measured in found.items():
        more = {key: median(item[key] for item in measured) for key in ("cpu_ms", "p50_ms")}
        rows.append(Row("executions", name, median(item["per_second"] for item in measured), "1/s", more))
    return rows


def main() -> int:
    """Run and print."""
    asked = options(__doc__).parse_args()
    tell(run(quick=asked.quick), asked)
    return 0


if __name__ == "__main__":
    sys.exit(main())
