"""The command line of everything that is measured for speed: what is wrong with it is said before anything starts."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.stand.drawing import as_svg
from benchmarks.stand.errors import BenchError
from benchmarks.stand.report import Row, as_json, print_rows


def options(about: str | None, contestants: Sequence[str] = ()) -> argparse.ArgumentParser:
    """What each is asked for; --only where there are contestants to choose from."""
    parser = argparse.ArgumentParser(
        prog="dev.py bench", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer jobs, fewer and shorter rounds")
    parser.add_argument("--json", type=_writable, metavar="FILE", help="write the figures here")
    parser.add_argument("--svg", type=_writable, metavar="FILE", help="draw them here")
    if contestants:
        parser.add_argument("--only", type=_some_of(contestants), metavar="NAMES", help=", ".join(contestants))
        parser.set_defaults(only=tuple(contestants))
    return parser


def at_least(smallest: int) -> Callable[[str], int]:
    """A number on a command line."""

    def number(text: str) -> int:
        found = int(text)
        if found < smallest:
            raise argparse.ArgumentTypeError(f"{found} is too few: at least {smallest}")
        return found

    return number


def carry_out(
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], Sequence[Row]],
    arguments: Sequence[str] | None = None,
) -> int:
    """Measure what the command line asks for, and tell it. The exit status: 1 where something could not be measured."""
    asked = parser.parse_args(arguments)
    try:
        rows = run(asked)
        print_rows(rows)
        if asked.json:
            asked.json.write_text(json.dumps(as_json(rows), indent=1) + "\n")
        if asked.svg:
            asked.svg.write_text(as_svg(rows))
    except BenchError as error:
        sys.stderr.write(f"dev.py bench: {error}\n")
        return 1
    return 0


def _writable(text: str) -> Path:
    # Half an hour of measuring is lost where the figures cannot be kept.
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder, not a file")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{path} cannot be written")
    return path


def _some_of(contestants: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    by_name = {name.lower(): name for name in contestants}

    def chosen(text: str) -> tuple[str, ...]:
        names = [name.strip() for name in text.split(",")]
        for name in names:
            if name.lower() not in by_name:
                raise argparse.ArgumentTypeError(f"there is no {name!r}; there are: {', '.join(contestants)}")
        # In their own order: the first is what the others are compared with.
        return tuple(name for name in contestants if name.lower() in {item.lower() for item in names})

    return chosen
