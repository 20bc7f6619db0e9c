"""Figures as a table, as JSON and as a drawing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

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


def print_rows(rows: Sequence[Row]) -> None:
    """Print a table of what was measured, and how ours stands to each."""
    table = Table("measured", "contestant", "figure", "unit", "ours to it", "more")
    for measured, several in groups(rows).items():
        ours = next((row for row in several if row.name == OURS), None)
        for row in several:
            stands = "" if ours is None or row is ours else f"{ratio(row, ours):.2f}"
            more = ", ".join(f"{name} {value:.3g}" for name, value in row.more.items())
            table.add_row(measured if row is several[0] else "", row.name, f"{row.value:,.4g}", row.unit, stands, more)
        table.add_section()
    Console(width=140).print(table)


def as_json(rows: Sequence[Row]) -> list[dict[str, object]]:
    """The rows for programs."""
    return [{**vars(row), "more": dict(row.more)} for row in rows]


def as_svg(rows: Sequence[Row]) -> str:
    """Bars, each measured thing to the scale of its largest."""
    height, lines, top = 18, [], 10
    for measured, several in groups(rows).items():
        lines.append(f'<text x="10" y="{top + 13}" font-weight="bold">{escape(measured)}</text>')
        top += height
        largest = max(row.value for row in several)
        for row in several:
            width = max(1.0, 380 * row.value / largest)
            colour = "#2f6fed" if row.name == OURS else "#9aa5b1"
            lines.append(
                f'<text x="150" y="{top + 13}" text-anchor="end">{escape(row.name)}</text>'
                f'<rect x="158" y="{top + 3}" width="{width:.0f}" height="12" fill="{colour}"/>'
                f'<text x="{166 + width:.0f}" y="{top + 13}">{row.value:,.4g} {escape(row.unit)}</text>'
            )
            top += height
        top += 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="680" height="{top}" viewBox="0 0 680 {top}"'
        ' font-family="sans-serif" font-size="12" fill="#3a4550">\n' + "\n".join(lines) + "\n</svg>\n"
    )


def write(rows: Sequence[Row], json_file: Path | None, svg_file: Path | None) -> None:
    """Print the figures, and keep them where there is a file for them."""
    print_rows(rows)
    if json_file:
        json_file.write_text(json.dumps(as_json(rows), indent=1) + "\n")
    if svg_file:
        svg_file.write_text(as_svg(rows))
