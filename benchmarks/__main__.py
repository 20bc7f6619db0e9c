"""All that is measured for speed, in one run: reads, the loop, live events.

    python3 dev.py bench [--quick] [--json FILE] [--svg FILE]

Prints tables; --json and --svg also write the figures, as docs/performance.md has them.
"""

from __future__ import annotations

import sys

from benchmarks import live, loop, reads
from benchmarks.stand.report import options, tell


def main() -> int:
    """Run all, print all."""
    asked = options(__doc__).parse_args()
    quick = asked.quick
    tell([*reads.run(quick=quick), *loop.run(quick=quick), *live.run(quick=quick)], asked)
    return 0


if __name__ == "__main__":
    sys.exit(main())
