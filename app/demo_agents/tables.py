"""Adds up a CSV file: totals and outliers of every numeric column."""

from __future__ import annotations

import csv
import io
import statistics
from typing import Any

NAME = "Table reader"
PATH = "/tables"
DESCRIPTION = "totals and outliers of a CSV file's numeric columns"

INPUT_SCHEMA = {
    "type": "object",
    "properties": {"csv": {"type": "string", "minLength": 1}},
    "required": ["csv"],
}
OUTPUT_SCHEMA = {
    "type": "object",
    "properties": {"rows": {"type": "integer"}, "columns": {"type": "array", "items": {"type": "object"}}},
    "required": ["rows", "columns"],
}

# Tukey's fences: further than this many interquartile ranges from the middle half is far out.
FENCE = 1.5
_FEWEST = 4


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Read the table; a column is numeric where every value in it is a number."""
    rows = list(csv.DictReader(io.StringIO(str(request["csv"]).strip()), skipinitialspace=True))
    names = list(rows[0]) if rows else []
    columns = [column(name, values) for name in names if (values := numbers(rows, name)) is not None]
    return {"rows": len(rows), "columns": columns}


def numbers(rows: list[dict[str, str]], name: str) -> list[float] | None:
    """The values of a column, None where one of them is no number."""
    try:
        return [float(row[name].replace(",", "")) for row in rows]
    except (ValueError, AttributeError):
        return None


def column(name: str, values: list[float]) -> dict[str, Any]:
    """Sum a column up. Rows count from 1, without the header."""
    low, high = fences(values)
    return {
        "name": name,
        "total": round(sum(values), 6),
        "mean": round(statistics.fmean(values), 6),
        "smallest": min(values),
        "largest": max(values),
        "outliers": [{"row": row, "value": value} for row, value in enumerate(values, 1) if not low <= value <= high],
    }


def fences(values: list[float]) -> tuple[float, float]:
    """The bounds beyond which a value is an outlier."""
    if len(values) < _FEWEST:
        return min(values), max(values)
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first - FENCE * (third - first), third + FENCE * (third - first)
