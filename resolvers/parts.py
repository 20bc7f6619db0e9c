"""Which parts of records are read for the fields that are selected of them: there are thousands on a page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

from db.records import WHOLE_JOB, Execution, Job, JobLog, Partly, Parts, parts_of
from resolvers.context import Info
from resolvers.selection import Path, selected

# What fields are read from that are not called like it. What a row is found by is read in any case.
_READ_FROM: Mapping[type[Partly], Mapping[str, Parts]] = {
    Execution: {
        "job": Parts({"job_id"}),
        "agent": Parts({"agent_id"}),
        "answer": Parts({"kept_answer"}),
        "validation": Parts({"latest_validation_id"}),
        "comparison": Parts({"latest_validation_id"}),
    },
    Job: {
        "acceptanceCriteria": Parts({"stored_criteria"}),
        "notice": Parts({"stored_notice"}),
        "agent": Parts({"agent_id"}),
        "availableActions": WHOLE_JOB,
        "latestExecution": Parts({"latest_execution_id"}),
    },
    JobLog: {
        "job": Parts({"job_id"}),
        "execution": Parts({"execution_id"}),
        "payload": Parts({"kept_payload"}),
    },
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
    # Some may be of other types that the value may have, others there are of every type.
    return Parts().union(*(read_from.get(name) or {_snake_case(name)} for name in names)).intersection(parts_of(record))


def _snake_case(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)
