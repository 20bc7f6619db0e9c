"""Reads per second, and how long they take, beside what else one would use and beside what Python can do at all.

    python3 dev.py bench reads [--quick] [--only NAMES]

Each server has one process and the same PostgreSQL. Rounds are interleaved, so that what else the machine does meets
all of them; figures are medians over the rounds. Before any timing, all answers are checked to carry the same data.
Ours is the served endpoint: login, limits, masking, tracing and headers included.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from statistics import median
from typing import Any, cast

from benchmarks.stand.command import carry_out, options
from benchmarks.stand.errors import BenchError
from benchmarks.stand.load import Measured, ask, measure, request_bytes
from benchmarks.stand.report import LIMIT, OURS, Row
from benchmarks.stand.stage import (
    PEERS,
    Server,
    filled_database,
    free_port,
    job_id,
    node,
    peers_python,
    plain_url,
    served,
    signoff,
    token,
)

POSTGRAPHILE, ARIADNE, NAIVE = "PostGraphile 5", "Ariadne", "naive Strawberry"
CONTESTANTS = (OURS, POSTGRAPHILE, ARIADNE, NAIVE, LIMIT)
LOG = "id timestamp type status message payload"
ROW = """id title status updatedAt agent { id name } owner { id displayName }
  latestExecution { number state outcome queuedAt }"""
QUERIES: Mapping[str, str] = {
    "Q1": f"query Q1($id: ID!) {{ job(id: $id) {{ id title status logs(first: 20) {{ nodes {{ {LOG} }}"
    " pageInfo { hasNextPage } } } }",
    "Q2": "query Q2 { jobs(first: 50) { edges { cursor node { id title status logs(first: 20) { edges { cursor node"
    f" {{ {LOG} }} }} pageInfo {{ hasNextPage }} }} }} }} }} }}",
    "Q3": "query Q3 { __typename }",
    "Q4": f"query Q4 {{ jobs(first: 50) {{ nodes {{ {ROW} }} }} }}",
}
# PostGraphile names what it finds in the tables itself.
_POSTGRAPHILE_LOG = "id: rowId timestamp type status message payload"
POSTGRAPHILE_QUERIES: Mapping[str, str] = {
    "Q1": "query Q1($id: String!) { job: jobByRowId(rowId: $id) { id: rowId title status"
    f" logs: jobLogsByJobId(first: 20, orderBy: [SEQ_ASC]) {{ nodes {{ {_POSTGRAPHILE_LOG} }}"
    " pageInfo { hasNextPage } } } }",
    "Q2": "query Q2 { jobs: allJobs(first: 50, orderBy: [CREATED_AT_DESC, ROW_ID_DESC]) { edges { cursor node {"
    " id: rowId title status logs: jobLogsByJobId(first: 20, orderBy: [SEQ_ASC]) { edges { cursor node"
    f" {{ {_POSTGRAPHILE_LOG} }} }} pageInfo {{ hasNextPage }} }} }} }} }} }}",
    "Q3": "query Q3 { __typename }",
    "Q4": "query Q4 { jobs: allJobs(first: 50, orderBy: [CREATED_AT_DESC, ROW_ID_DESC]) { nodes { id: rowId title"
    " status updatedAt agent: agentByAgentId { id: rowId name } ownerId ownerName"
    " executions: executionsByJobId(last: 1, orderBy: [NUMBER_ASC]) { nodes { number state outcome queuedAt } } } } }",
}


@dataclass(frozen=True)
class Contestant:
    """A server and how it is asked."""

    server: Server
    requests: Mapping[str, bytes]


def requests_for(queries: Mapping[str, str], path: str, headers: Mapping[str, str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name, text in queries.items():
        variables = {"id": job_id(5_00)} if name == "Q1" else {}
        body = {"query": text, "operationName": name, "variables": variables}
        # As browsers write it.
        found[name] = request_bytes(path, json.dumps(body, separators=(",", ":")).encode(), headers)
    return found


# ------------------------------------------------------------------------------------------------- the same data


def facts(answer: bytes) -> Any:
    """What an answer says, without the forms in which servers say it: case, digits of times, JSON in text.

    Of a cursor, only that there is one.
    """
    decoded = json.loads(answer)
    if "errors" in decoded:
        raise BenchError(f"it answers {decoded['errors']}")
    return _plain(decoded["data"])


def _plain(value: Any) -> Any:
    match value:
        case {"executions": {"nodes": [execution]}, "ownerId": owner, "ownerName": name, **rest}:
            return _plain({**rest, "latestExecution": execution, "owner": {"id": owner, "displayName": name}})
        case dict():
            members = cast("dict[str, object]", value)
            return {key: bool(item) if key == "cursor" else _plain(item) for key, item in members.items()}
        case list():
            return [_plain(item) for item in cast("list[object]", value)]
        case str():
            return _plain_text(value)
        case _:
            return value


def _plain_text(text: str) -> Any:
    if text.startswith("{"):
        return _plain(json.loads(text))
    if text[:2] == "20" and "T" in text:
        return text[:19]
    return text.lower()


def check(contestants: Sequence[Contestant]) -> None:
    """See that all answers carry the same data, and the limit's the same bytes as ours."""
    for query in QUERIES:
        answers: dict[str, bytes] = {}
        for item in contestants:
            with item.server.asked(query):
                answer = answers[item.server.name] = ask(item.server.port, item.requests[query])
                first, other = next(iter(answers.items()))
                same = answer == other if (first, item.server.name) == (OURS, LIMIT) else facts(answer) == facts(other)
                if not same:
                    raise BenchError(f"it answers otherwise than {first}: {answer[:400]!r}, not {other[:400]!r}")


# --------------------------------------------------------------------------------------------------------- the run


@dataclass
class _Found:
    """What came of asking a server one thing, in all rounds."""

    rounds: list[Measured] = field(default_factory=list[Measured])
    cpu_seconds: float = 0.0

    def row(self, measured: str, name: str) -> Row:
        """What is told of it."""
        more = {
            "p50_ms": median(item.p50 for item in self.rounds) * 1e3,
            "p99_ms": median(item.quantile(0.99) for item in self.rounds) * 1e3,
            # The server's own, without PostgreSQL's: what else the machine does hardly changes it.
            "cpu_ms": self.cpu_seconds / sum(len(item.latencies) for item in self.rounds) * 1e3,
            # The generator has a core of its own: near 1, it may be what is measured.
            "asking": median(item.busy_seconds / item.seconds for item in self.rounds),
        }
        return Row(measured, name, median(item.per_second for item in self.rounds), "requests/s", more)


def run(*, quick: bool, only: Sequence[str] = CONTESTANTS) -> list[Row]:
    """Measure."""
    # A process is faster or slower than another one of the same program, for as long as it runs: each is started anew.
    jobs, starts, rounds, seconds = (500, 1, 3, 0.4) if quick else (10_000, 3, 2, 0.7)
    found: dict[tuple[str, str], _Found] = {}
    with filled_database(max(jobs, 600)) as url:
        for _ in range(starts):
            with ExitStack() as stack:
                contestants = _contestants(stack, url, only)
                check(contestants)
                for query, concurrency, number, item in product(QUERIES, (1, 16), range(rounds + 1), contestants):
                    measured, used = _asked(item, query, concurrency, seconds if number else 0.3)
                    if number:  # the first round warms up
                        of_it = found.setdefault((f"{query}, concurrency {concurrency}", item.server.name), _Found())
                        of_it.rounds.append(measured)
                        of_it.cpu_seconds += used
    return [of_it.row(*key) for key, of_it in found.items()]


def _asked(item: Contestant, query: str, concurrency: int, seconds: float) -> tuple[Measured, float]:
    """Ask for a while; returns what came of it, and the server's processor time."""
    before = item.server.cpu_seconds
    with item.server.asked(f"{query}, {concurrency} at once"):
        measured = measure(item.server.port, item.requests[query], concurrency, seconds)
    return measured, item.server.cpu_seconds - before


def _contestants(stack: ExitStack, url: str, only: Sequence[str]) -> list[Contestant]:
    python = peers_python()
    database = {"DATABASE": plain_url(url), "NODE_ENV": "production", "GRAPHILE_ENV": "production"}
    bearer = {"authorization": f"Bearer {token()}"}
    found: list[Contestant] = []

    def add(name: str, command: Callable[[int], tuple[list[str], Mapping[str, str]]], **asked: Any) -> None:
        if name not in only:
            return
        port = free_port()
        words, environment = command(port)
        server = stack.enter_context(served(name, words, environment, port))
        found.append(Contestant(server, requests_for(**asked)))

    def peer(file: str) -> Callable[[int], tuple[list[str], Mapping[str, str]]]:
        program = [python, str(PEERS / "python" / file)]
        return lambda _port: (program, database)

    add(OURS, lambda port: signoff(url, port), queries=QUERIES, path="/graphql", headers=bearer)
    postgraphile = [node(), str(PEERS / "node" / "postgraphile.mjs")]
    add(POSTGRAPHILE, lambda _: (postgraphile, database), queries=POSTGRAPHILE_QUERIES, path="/graphql", headers={})
    add(ARIADNE, peer("ariadne_server.py"), queries=QUERIES, path="/", headers={})
    add(NAIVE, peer("naive_strawberry.py"), queries=QUERIES, path="/", headers={})
    add(LIMIT, peer("limit_reads.py"), queries=QUERIES, path="/", headers={})
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = options(__doc__, CONTESTANTS)
    return carry_out(parser, lambda asked: run(quick=asked.quick, only=asked.only), arguments)


if __name__ == "__main__":
    sys.exit(main())
