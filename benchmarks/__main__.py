"""All that is measured for speed, in one run: reads, the loop, live events.

    python3 dev.py bench [--quick] [--json FILE] [--svg FILE]

Prints tables; --json and --svg also write the figures, as docs/performance.md has them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks import live, loop, reads
from benchmarks.stand.report import as_json, as_svg, print_rows


def main() -> int:
    """Run all, print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer jobs, fewer and shorter rounds")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--svg", type=Path, help="draw them here")
    arguments = parser.parse_args()
    rows = [*reads.run(quick=arguments.quick), *loop.run(quick=arguments.quick), *live.run(quick=arguments.quick)]
    print_rows(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps(as_json(rows), indent=1) + "\n")
    if arguments.svg:
        arguments.svg.write_text(as_svg(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
