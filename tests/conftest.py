"""Fixtures that any test may ask for."""

from collections.abc import AsyncGenerator, Generator

import pytest

from db.session import Database
from tests.databases import PostgreSQL, SQLite, postgresql_server, scratch_directory
from tests.temporal_server import TemporalServer, temporal_server


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
