"""Whether memory stays flat: a hundred thousand requests to one server, no two alike, and thousands of listeners.

    python3 dev.py bench soak [--requests 100000] [--listeners 4000] [--seed 1]

What is kept for everybody who asks is what grows, so nearly every request brings something new: other documents,
variables, people, tokens, and everything that is refused (documents that are wrong, tokens that are none, bodies that
are no JSON). Caches fill up at first; from then on, a line through what the server holds must not rise. Exit status 1
where it does.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import linear_regression

from pydantic import SecretStr

from app.auth import Tokens
from benchmarks.reads import QUERIES
from benchmarks.stand.command import at_least
from benchmarks.stand.crowd import Greeting, Listener, listener
from benchmarks.stand.errors import BenchError
from benchmarks.stand.stage import SECRET, Server, filled_database, free_port, job_id, served, signoff
from db.records import Role

JOBS = 2_000
AT_ONCE = 8
MEBIBYTE = 2**20
# The caches are full, and what is freed is used again, after so much of the run.
WARM = 0.4
# What a hundred bytes kept of each request, or two kibibytes of each listener, come to.
REQUESTS_BOUND_BYTES, LISTENERS_BOUND_BYTES = 100.0, 2048.0
_PEOPLE = Tokens.of([SecretStr(SECRET)])


# ----------------------------------------------------------------------------------------------------- the requests


@dataclass(frozen=True)
class Asked:
    """One request."""

    body: bytes
    token: str | None = None
    method: str = "POST"
    path: str = "/graphql"

    @property
    def headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json", "accept": "application/json"}
        return headers if self.token is None else {**headers, "authorization": f"Bearer {self.token}"}


def _graphql(query: str, token: str | None, /, **variables: object) -> Asked:
    return Asked(json.dumps({"query": query, "variables": variables}).encode(), token)


def _well_asked(number: int, chance: random.Random, token: str) -> Asked:
    """Q1 to Q4 as the pages send them, and documents of those who write them by hand."""
    job = job_id(chance.randint(1, JOBS))
    first, other = chance.randint(1, 50), f"a{number}"
    page = f"jobs(first: $first, filter: {{search: $search}}) {{ nodes {{ id title {other}: status }} }}"
    asks: list[Callable[[], Asked]] = [
        lambda: _graphql(QUERIES["Q1"], token, id=job),
        lambda: _graphql(QUERIES["Q2"].replace("first: 50", "first: 5"), token),
        lambda: _graphql(QUERIES["Q3"], token),
        lambda: _graphql(QUERIES["Q4"].replace("first: 50", f"first: {first}"), token),
        lambda: _graphql(f"query ($id: ID!) {{ {other}: job(id: $id) {{ id title }} }}", token, id=job),
        lambda: _graphql(f"query ($first: Int, $search: String) {{ {page} }}", token, first=3, search=f"Job {number}"),
        lambda: _graphql("query ($id: ID!) { node(id: $id) { id } }", token, id=f"job_{number:026}"),
        lambda: Asked(b"", token, "GET", f"/api/jobs/{job}"),
    ]
    return chance.choices(asks, [30, 8, 20, 12, 10, 5, 5, 5])[0]()


def _ill_asked(number: int, chance: random.Random, token: str) -> Asked:
    """What is refused, each time in another way."""
    name = f"x{number}"
    mutation = "mutation ($input: ExecuteJobInput!) { executeJob(input: $input) { userErrors { code message } } }"
    asks: list[Callable[[], Asked]] = [
        lambda: _graphql(f"{{ {name} }}", token),
        lambda: _graphql(f"query Q {{ jobs {{ nodes {{ {name} }} ", token),
        lambda: _graphql(f"query Q($id: {name}) {{ job(id: $id) {{ id }} }}", token),
        lambda: _graphql(QUERIES["Q1"], token, id={name: number}),
        lambda: _graphql("query ($after: String) { jobs(after: $after) { nodes { id } } }", token, after=name),
        lambda: _graphql("{ " + "job(id: 1) { " * 20 + name + " }" * 20 + " }", token),
        lambda: _graphql(f"query {name} {{ __type(name: {json.dumps(name)}) {{ name }} }}", token),
        lambda: _graphql(mutation, token, input={"jobId": f"job_{number:026}", "waitSeconds": 0}),
        lambda: _graphql(QUERIES["Q3"], name),
        lambda: _graphql(QUERIES["Q3"], token[:-8] + f"{number:08}"),
        lambda: _graphql("{ viewer { id } jobs { nodes { id } } }", None),
        lambda: Asked(f'{{"query": "{name}'.encode(), token),
        lambda: Asked(f"[{number}]".encode(), token),
        lambda: Asked(b"", token, "GET", f"/api/jobs/{name}"),
        lambda: Asked(b"", token, "GET", f"/{name}"),
    ]
    return chance.choice(asks)()


def request(number: int, seed: int) -> Asked:
    """The request of that number: a third comes from somebody who never came before, a fifth is refused."""
    chance = random.Random(f"{seed} {number}")
    person = f"person{number}" if chance.random() < 1 / 3 else f"regular{chance.randrange(50)}"
    token = _PEOPLE.issue(person, chance.choice([Role.CLIENT, Role.ADMIN]))
    ask = _ill_asked if chance.random() < 0.2 else _well_asked
    return ask(number, chance, token)


# ------------------------------------------------------------------------------------------------------ the growth


@dataclass
class Growth:
    """How much memory a server held after so many of something, and how much may be kept of each."""

    what: str
    bound_bytes: float
    samples: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    @property
    def bytes_each(self) -> float:
        """How much was kept of each, once it was warm: the slope of a line through what was sampled."""
        ordered = sorted(self.samples)
        warm = [sample for sample in ordered if sample[0] >= WARM * ordered[-1][0]]
        return float(linear_regression(*zip(*warm, strict=True)).slope)

    @property
    def is_flat(self) -> bool:
        """Whether that is no more than it may be."""
        return self.bytes_each <= self.bound_bytes

    def sample(self, number: int, count: int, server: Server) -> None:
        """Note what the server holds before the number-th of them, at a hundred points; say it at ten."""
        if number % max(1, count // 100) == 0:
            self.samples.append((number, server.resident_bytes))
            if number % max(1, count // 10) == 0:
                print(f"{number:>9,} {self.what:12} {self.samples[-1][1] / MEBIBYTE:8.1f} MiB", flush=True)

    def __str__(self) -> str:
        verdict = "flat" if self.is_flat else "GROWING"
        return (
            f"{verdict}: {round(self.bytes_each)} bytes for each of the {self.what} after the first {WARM:.0%};"
            f" flat is up to {round(self.bound_bytes)}"
        )


@dataclass
class _Requests:
    """Ask on some connections; remember what was answered, and what the server held meanwhile."""

    server: Server
    count: int
    seed: int
    answered: Counter[int] = field(default_factory=Counter[int])
    growth: Growth = field(default_factory=lambda: Growth("requests", REQUESTS_BOUND_BYTES))

    def run(self) -> Growth:
        numbers = iter(range(self.count))  # whose next is atomic
        with ThreadPoolExecutor(AT_ONCE) as workers:
            for working in [workers.submit(self._ask, numbers) for _ in range(AT_ONCE)]:
                working.result()
        return self.growth

    def _ask(self, numbers: Iterator[int]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        for number in numbers:
            self.growth.sample(number, self.count, self.server)
            asked = request(number, self.seed)
            try:
                connection.request(asked.method, asked.path, asked.body or None, asked.headers)
                answer = connection.getresponse()
                answer.read()
            except http.client.HTTPException as error:
                raise BenchError(f"it breaks off request {number}, {asked.body[:200]!r}: {error!r}") from error
            self.answered[answer.status] += 1
            if answer.status >= 500:
                raise BenchError(f"it answers {answer.status} to request {number}: {asked.body[:200]!r}")


def _listeners(server: Server, count: int, seed: int) -> Growth:
    """Fifty at a time: subscribe, and leave in one of the ways in which listeners leave."""
    growth = Growth("listeners", LISTENERS_BOUND_BYTES)
    chance = random.Random(seed)
    document = "subscription ($id: ID!) { %s: jobLogAppended(jobId: $id) { cursor log { id } } }"
    for start in range(0, count, 50):
        several: list[Listener] = []
        for number in range(start, start + 50):
            growth.sample(number, count, server)
            token = _PEOPLE.issue(f"listener{number}", Role.ADMIN)
            variables = {"id": job_id(chance.randint(1, JOBS)) if chance.random() < 0.9 else f"nonsense{number}"}
            subscribe = {"query": document % f"a{number}" if number % 5 else f"subscription {{ x{number} }}"}
            subscription = {"id": str(number), "type": "subscribe", "payload": {**subscribe, "variables": variables}}
            greeting = Greeting(
                "/graphql", {"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}}, subscription
            )
            several.append(listener(server.port, greeting))
        time.sleep(0.05)  # some are followed by now, and some are not yet
        for number, one in enumerate(several):
            with suppress(OSError):
                if number % 3 == 0:
                    one.send(1, json.dumps({"id": str(start + number), "type": "complete"}).encode())
                if number % 3 < 2:
                    one.send(8, (1000).to_bytes(2, "big"))
            one.socket.close()
    return growth


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dev.py bench soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=at_least(1_000), default=100_000)
    parser.add_argument("--listeners", type=at_least(500), default=4_000)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; whether something grew."""
    asked = _arguments(arguments)
    port = free_port()
    try:
        with filled_database(JOBS) as url, served("Signoff", *signoff(url, port), port) as server:
            requests = _Requests(server, asked.requests, asked.seed)
            parts: Mapping[str, Callable[[], Growth]] = {
                f"{asked.requests:,} requests": requests.run,
                f"{asked.listeners:,} listeners": lambda: _listeners(server, asked.listeners, asked.seed),
            }
            grew = False
            for what, part in parts.items():
                with server.asked(what):
                    growth = part()
                print(growth, flush=True)
                grew |= not growth.is_flat
            print("answers:", ", ".join(f"{count:,} x {status}" for status, count in sorted(requests.answered.items())))
    except BenchError as error:
        sys.stderr.write(f"dev.py bench: {error}\n")
        return 1
    return int(grew)


if __name__ == "__main__":
    sys.exit(main())
