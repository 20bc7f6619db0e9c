"""Figures, how they compare, and how they are told as a table and as JSON."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import floor, log10

from rich.console import Console
from rich.table import Table

OURS = "Signoff"
LIMIT = "limit"


@dataclass(frozen=True)
class Row:
    """One figure of one contestant."""

    measured: str
    name: str
    value: float
    unit: str
    more: Mapping[str, float] = field(default_factory=dict[str, float])
    less_is_better: bool = False


def groups(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows by what they measure."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.measured, []).append(row)
    return found


def ratio(row: Row, ours: Row) -> float:
    """How many times better ours is."""
    return row.value / ours.value if row.less_is_better else ours.value / row.value


def number(value: float) -> str:
    """As many digits as mean something."""
    decimals = 0 if value == 0 else max(0, 2 - floor(log10(abs(value))))
    return f"{value:,.{decimals}f}"


def print_rows(rows: Sequence[Row]) -> None:
    """Print a table of what was measured, and how ours stands to each."""
    # How an interpreter was built makes a fifth of what Python takes: whose is it?
    caption = f"{platform.python_implementation()} {platform.python_version()} ({', '.join(platform.python_build())})"
    table = Table("measured", "contestant", "figure", "unit", "ours to it", "more", caption=caption)
    for measured, several in groups(rows).items():
        ours = next((row for row in several if row.name == OURS), None)
        for row in several:
            stands = "" if ours is None or row is ours else f"{ratio(row, ours):.2f}"
            more = ", ".join(f"{name} {number(value)}" for name, value in row.more.items())
            table.add_row(measured if row is several[0] else "", row.name, number(row.value), row.unit, stands, more)
        table.add_section()
    Console(width=150).print(table)


def as_json(rows: Sequence[Row]) -> list[dict[str, object]]:
    """The rows for programs, with how many times better ours is than each."""
    ours = {row.measured: row for row in rows if row.name == OURS}
    return [
        {
            "measured": row.measured,
            "name": row.name,
            "value": row.value,
            "unit": row.unit,
            "more": dict(row.more),
            "ours_to_it": ratio(row, ours[row.measured]) if row.measured in ours else None,
        }
        for row in rows
    ]
