"""All that is measured for speed, in one run: reads, the loop, live events.

    python3 dev.py bench [--quick] [--json FILE] [--svg FILE]

Prints tables; --json and --svg also write the figures, as docs/performance.md has them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks import live, loop, reads
from benchmarks.stand.command import carry_out, options
from benchmarks.stand.report import Row


def run(*, quick: bool) -> list[Row]:
    """Measure all."""
    return [*reads.run(quick=quick), *loop.run(quick=quick), *live.run(quick=quick)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all, print all."""
    return carry_out(options(__doc__), lambda asked: run(quick=asked.quick), arguments)


if __name__ == "__main__":
    sys.exit(main())
