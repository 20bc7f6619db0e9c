"""Fixtures that any test may ask for."""

import gc
from collections.abc import AsyncGenerator, Generator
from itertools import islice
from pathlib import Path

import pytest

from db.session import Database
from tests.databases import PostgreSQL, SQLite, postgresql_server, scratch_directory
from tests.temporal_server import TemporalServer, temporal_server

# What waits longest: for leases to expire, and for servers to start and to end.
WAITING = [Path(__file__).parent / "crash", Path(__file__).parent / "hostile"]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let half of the workers begin with what waits longest, while the others compute.

    Each worker begins with an equal part of the items. What comes last is not shared well any more, so that it should
    be short.
    """
    workers: int = getattr(config, "workerinput", {}).get("workercount", 1)
    if workers < 2:
        return
    waiting = [item for item in items if any(map(item.path.is_relative_to, WAITING))]
    computing = iter([item for item in items if not any(map(item.path.is_relative_to, WAITING))])
    half, left, ordered = workers // 2, len(items), list[pytest.Item]()
    for number in range(workers):
        part = waiting[number::half] if number < half else []
        part += islice(computing, max(0, left // (workers - number) - len(part)))
        ordered += part
        left -= len(part)
    items[:] = [*ordered, *computing]


def pytest_collection_finish() -> None:
    """Have no collection of garbage look at what was imported, and stays: a third of a second for each full one."""
    gc.freeze()


@pytest.fixture(scope="session")
def sqlite() -> Generator[SQLite]:
    with scratch_directory("sqlite") as directory:
        yield SQLite(directory)


@pytest.fixture(scope="session")
def postgresql() -> Generator[PostgreSQL]:
    with postgresql_server() as server_url, PostgreSQL.on(server_url) as databases:
        yield databases


@pytest.fixture(scope="session")
def temporal() -> Generator[TemporalServer]:
    """A Temporal server; tests share it and use task queues of their own."""
    with scratch_directory("temporal") as directory, temporal_server(directory) as server:
        yield server


@pytest.fixture
def sqlite_url(sqlite: SQLite) -> Generator[str]:
    with sqlite.database() as url:
        yield url


@pytest.fixture
def postgresql_url(postgresql: PostgreSQL) -> Generator[str]:
    with postgresql.database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh, migrated database; whoever asks for it runs once on each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncGenerator[Database]:
    """A fresh, migrated database, opened; whoever asks for it runs once on each kind."""
    database = Database.open(database_url)
    yield database
    await database.close()
