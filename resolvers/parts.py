"""Which parts of records are read for the fields that are selected of them: there are thousands on a page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

from db.records import Execution, JobLog, Partly, Parts, parts_of
from resolvers.context import Info
from resolvers.selection import Path, selected

# The fields that are not called like what they are read from. What a row is found by is read in any case.
_READ_FROM: Mapping[type[Partly], Mapping[str, str]] = {
    Execution: {
        "job": "job_id",
        "agent": "agent_id",
        "answer": "kept_answer",
        "validation": "latest_validation_id",
        "comparison": "latest_validation_id",
        "validations": "id",
        "logs": "id",
    },
    JobLog: {"job": "job_id", "execution": "execution_id", "payload": "kept_payload"},
}
# The rows of a list, however they are selected.
LISTED: tuple[Path, ...] = (("nodes",), ("edges", "node"))


def parts(info: Info, record: type[Partly], *paths: Path) -> Parts:
    """The parts of records that are selected at these paths below the present field."""
    # To mypy, a class is not hashable that says how its instances are hashed.
    return _parts(cast("Any", record), selected(info, *paths))


@lru_cache(500)
def _parts(record: type[Partly], names: frozenset[str]) -> Parts:
    read_from = _READ_FROM[record]
    wanted = {read_from.get(name) or re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name) for name in names}
    # Some may be of other types that the value may have, others there are of every type.
    return Parts(wanted.intersection(parts_of(record)))
