"""Databases for scenes that are played side by side."""

from collections.abc import Generator
from contextlib import ExitStack

import pytest

from tests.databases import PostgreSQL, SQLite

# Each waits for leases to expire most of the time.
SCENES = 6


@pytest.fixture(params=["sqlite", "postgresql"])
def database_urls(request: pytest.FixtureRequest) -> Generator[list[str]]:
    """The URLs of fresh, migrated databases of one kind; whoever asks for them runs once on each kind."""
    databases: SQLite | PostgreSQL = request.getfixturevalue(request.param)
    with ExitStack() as stack:
        yield [stack.enter_context(databases.database()) for _ in range(SCENES)]
