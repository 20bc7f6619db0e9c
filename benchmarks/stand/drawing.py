"""How many times faster than each, as a drawing that reads on light and dark pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from math import ceil, floor, log2

from benchmarks.stand.report import LIMIT, OURS, Row, groups, number, ratio

_WIDTH, _LINE, _HEAD, _MARGIN = 780, 19, 30, 24
# Names end where the bars begin; figures stand right of them.
_LEFT, _RIGHT, _FIGURES = 168, 590, _WIDTH - _MARGIN
_STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2733 }
.page { fill: #ffffff; stroke: #d5dbe3 } .head { font-weight: 600 } .title { font-size: 16px; font-weight: 600 }
.soft { fill: #5b6675 } .grid { stroke: #e3e8ee } .even { stroke: #5b6675 }
.ahead { fill: #2563c9 } .behind { fill: #c2570c } .limit { fill: #8a95a5 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6eaf0 } .page { fill: #12171f; stroke: #333d4a } .soft { fill: #9aa6b5 }
  .grid { stroke: #2a333f } .even { stroke: #9aa6b5 }
  .ahead { fill: #6ea2ff } .behind { fill: #f2954f } .limit { fill: #748091 }
}
"""


def as_svg(rows: Sequence[Row]) -> str:
    """A bar for each comparison, on a logarithmic scale: to the right of the line at 1, ours is the faster one."""
    compared = {
        measured: (ours, [row for row in several if row is not ours])
        for measured, several in groups(rows).items()
        if (ours := next((row for row in several if row.name == OURS), None)) and len(several) > 1
    }
    ratios = [ratio(row, ours) for ours, others in compared.values() for row in others]
    lowest, highest = floor(log2(min([0.5, *ratios]))), ceil(log2(max([2.0, *ratios])))
    unit = (_RIGHT - _LEFT) / (highest - lowest)

    def place(times: float) -> float:
        return _LEFT + (log2(times) - lowest) * unit

    height = 100 + sum(_HEAD + _LINE * len(others) for _, others in compared.values())
    legend = f"right of 1&#215;: {OURS} is ahead; grey: the {LIMIT}"
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    summary = "; ".join(
        f"{measured}: {', '.join(f'{ratio(row, ours):.2f} times {row.name}' for row in others)}"
        for measured, (ours, others) in compared.items()
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title summary">',
        f'<title id="title">{OURS} beside others</title><desc id="summary">{escape(summary)}</desc>',
        f"<style>{_STYLE}</style>",
        f'<rect class="page" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="8"/>',
        f'<text class="title" x="{_MARGIN}" y="34">How many times better {OURS} is</text>',
        f'<text class="soft" x="{_FIGURES}" y="34" text-anchor="end">{legend}</text>',
    ]
    for power in range(lowest, highest + 1):
        at = place(2.0**power)
        lines += [
            f'<line class="{"grid" if power else "even"}" x1="{at:.1f}" x2="{at:.1f}" y1="70" y2="{height - 20}"/>',
            f'<text class="soft" x="{at:.1f}" y="62" text-anchor="middle">{_tick(power)}</text>',
        ]
    top = 76
    for measured, (ours, others) in compared.items():
        clear = f'x="{_MARGIN}" y="{top + 4}" width="{_WIDTH - 2 * _MARGIN}" height="{_HEAD - 8}"'
        lines += [
            # On the page's colour, for the lines of the scale to stop at it.
            f'<rect class="page" style="stroke: none" {clear}/>',
            f'<text class="head" x="{_MARGIN}" y="{top + 20}">{escape(measured)}</text>',
            f'<text class="head" x="{_FIGURES}" y="{top + 20}" text-anchor="end">{_figure(ours)}</text>',
        ]
        top += _HEAD
        for row in others:
            lines += _bar(row, ratio(row, ours), place, top)
            top += _LINE
    return "\n".join([*lines, "</svg>"]) + "\n"


def _bar(row: Row, times: float, place: Callable[[float], float], top: float) -> Iterator[str]:
    even, end = place(1.0), place(times)
    kind = "limit" if row.name == LIMIT else "ahead" if times >= 1 else "behind"
    yield f'<text x="{_LEFT - 12}" y="{top + 14}" text-anchor="end">{escape(row.name)}</text>'
    yield (
        f'<rect class="{kind}" x="{min(even, end):.1f}" y="{top + 3}" width="{max(1.0, abs(end - even)):.1f}"'
        ' height="13" rx="2"/>'
    )
    yield f'<text x="{max(even, end) + 6:.1f}" y="{top + 14}">{_times(times)}</text>'
    yield f'<text class="soft" x="{_FIGURES}" y="{top + 14}" text-anchor="end">{_figure(row)}</text>'


def _figure(row: Row) -> str:
    return f"{number(row.value)} {escape(row.unit)}"


def _times(times: float) -> str:
    return f"{times:.{0 if times >= 10 else 1 if times >= 1 else 2}f}&#215;"


def _tick(power: int) -> str:
    return f"{2**power}&#215;" if power >= 0 else f"1/{2**-power}"
