"""The migrations make exactly the models, once, whoever runs them, and can be taken back."""

# A package here would hide the real db from the type checker.
# ruff: noqa: INP001

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, Connection, Inspector, inspect, text

from db import jobs
from db.migrate import _config, is_current, upgrade
from db.models import metadata
from db.records import EVERYTHING, JobFilter, Scope
from db.session import WRITES, Database, engine_for
from tests.databases import PostgreSQL
from tests.db.making import OWNER, make_job, scalar

T = TypeVar("T")

REVISIONS = list(ScriptDirectory.from_config(_config()).walk_revisions())


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'empty.db'}"


@pytest.fixture
def empty_postgresql_url(postgresql: PostgreSQL) -> Generator[str]:
    with postgresql._created(f"signoff_empty_{uuid4().hex[:12]}") as url:  # noqa: SLF001 - not a copy, for once
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database without a table; whoever asks for it runs once on each kind."""
    url: str = request.getfixturevalue(f"empty_{request.param}_url")
    return url


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[Callable[..., Any]]:
    """Yield what runs a synchronous function in one transaction."""
    engine = engine_for(url, pool_size=1)

    async def run(function: Callable[[Connection], T]) -> T:
        async with engine.connect() as connection:
            await connection.execution_options(**{WRITES: True})
            async with connection.begin():
                return await connection.run_sync(function)

    try:
        yield run
    finally:
        await engine.dispose()


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[Database]:
    database = Database.open(url)
    try:
        yield database
    finally:
        await database.close()


def ours(name: str | None, type_: str, parents: object) -> bool:
    """SQLite keeps a table of its own for AUTOINCREMENT."""
    return not (type_ == "table" and (name or "").startswith("sqlite_"))


def differences(connection: Connection) -> list[Any]:
    # The one default of the models is PostgreSQL's identity column; SQLite numbers by itself.
    defaults = connection.dialect.name == "postgresql"
    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": defaults, "include_name": ours}
    )
    return list(compare_metadata(context, metadata))


def checks(connection: Connection) -> dict[str, str]:
    """Check constraints by name, as the words and values in them: a database writes the rest as it likes."""
    inspector = inspect(connection)
    return {
        str(check["name"]): words(check["sqltext"])
        for table in metadata.tables
        for check in inspector.get_check_constraints(table)
    }


def words(condition: str) -> str:
    """PostgreSQL turns `x IN (…)` into `x = ANY (ARRAY[…])` and adds types."""
    plain = re.sub(r"::(character varying|text)(\[\])?|\(32\)|\(16\)", "", condition)
    plain = re.sub(r"=\s*ANY\s*\(+ARRAY", "IN", plain)
    plain = re.sub(r"<>\s*ALL\s*\(+ARRAY", "NOT IN", plain)
    return " ".join(re.findall(r"'[^']*'|\w+|<>|=", plain))


WANTED_CHECKS = {
    str(constraint.name): words(str(constraint.sqltext))
    for table in metadata.tables.values()
    for constraint in table.constraints
    if isinstance(constraint, CheckConstraint)
}


def tables(connection: Connection) -> set[str]:
    inspector: Inspector = inspect(connection)
    return set(inspector.get_table_names()) - {"alembic_version"}


def on(connection: Connection, direction: Callable[..., None], revision: str) -> None:
    config = _config()
    config.attributes["connection"] = connection
    direction(config, revision)


async def test_the_migrations_make_exactly_the_models(database_url: str) -> None:
    async with connected(database_url) as run:
        assert await run(differences) == []
        assert await run(checks) == WANTED_CHECKS


async def test_the_comparison_notices_a_missing_index(database_url: str) -> None:
    async with connected(database_url) as run:
        await run(lambda connection: connection.execute(text("DROP INDEX ix_jobs_created")))
        assert [difference[0] for difference in await run(differences)] == ["add_index"]


async def test_a_database_is_current_only_at_the_newest_revision(empty_url: str) -> None:
    assert not await is_current(empty_url)
    await upgrade(empty_url)
    assert await is_current(empty_url)
    async with connected(empty_url) as run:
        await run(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = 'unknown'")))
    assert not await is_current(empty_url)


async def test_upgrading_again_does_nothing_and_keeps_what_is_there(empty_url: str) -> None:
    await upgrade(empty_url)
    agent = (
        "INSERT INTO agents (id, name, executor, endpoint_url, timeout_seconds, max_concurrent_executions, idempotent,"
        " enabled, created_at, updated_at) VALUES ('agt_1', 'n', 'e', 'u', 1, 1, false, true,"
        " '2026-01-01 00:00:00', '2026-01-01 00:00:00')"
    )
    async with connected(empty_url) as run:
        await run(lambda connection: connection.execute(text(agent)))
        await upgrade(empty_url)
        assert await run(lambda connection: connection.execute(text("SELECT count(*) FROM agents")).scalar_one()) == 1
        assert await run(differences) == []


async def test_replicas_that_start_together_migrate_once(empty_url: str) -> None:
    await asyncio.gather(*(upgrade(empty_url) for _ in range(4)))
    assert await is_current(empty_url)
    async with connected(empty_url) as run:
        assert await run(differences) == []
        versions = await run(lambda connection: connection.execute(text("SELECT * FROM alembic_version")).all())
        assert len(versions) == 1


async def test_down_to_nothing_and_up_again(database_url: str) -> None:
    async with connected(database_url) as run:
        await run(lambda connection: on(connection, command.downgrade, "base"))
        assert await run(tables) == set()
        assert not await is_current(database_url)
        for revision in reversed(REVISIONS):  # each step by itself, up, down and up
            for direction, to in (
                (command.upgrade, revision.revision),
                (command.downgrade, "-1"),
                (command.upgrade, revision.revision),
            ):
                await run(lambda connection, direction=direction, to=to: on(connection, direction, to))
        assert await run(differences) == []
        assert await run(checks) == WANTED_CHECKS


async def test_a_migration_that_fails_leaves_nothing_behind(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(connection: Connection) -> None:
        on(connection, command.upgrade, "head")
        message = "the power went"
        raise RuntimeError(message)

    monkeypatch.setattr("db.migrate._upgrade", fail)
    with pytest.raises(RuntimeError, match="the power went"):
        await upgrade(empty_url)
    monkeypatch.undo()
    async with connected(empty_url) as run:
        assert await run(tables) == set()
    await upgrade(empty_url)
    assert await is_current(empty_url)


async def test_the_jobs_that_there_are_are_counted(empty_url: str) -> None:
    async with connected(empty_url) as run:
        await run(lambda connection: on(connection, command.upgrade, "0005"))
    async with opened(empty_url) as database:
        async with database.begin() as tx:
            await make_job(tx)
        await upgrade(empty_url)
        async with database.read() as tx:
            assert await jobs.count(tx, EVERYTHING, JobFilter()) == 1
            assert await jobs.count(tx, Scope(OWNER.id or ""), JobFilter()) == 1


async def test_counting_waits_for_who_writes_a_job_meanwhile(empty_postgresql_url: str) -> None:
    async with connected(empty_postgresql_url) as run:
        await run(lambda connection: on(connection, command.upgrade, "0005"))
    async with opened(empty_postgresql_url) as database, asyncio.timeout(20):
        async with database.begin() as tx:
            await make_job(tx)
            migrating = asyncio.create_task(upgrade(empty_postgresql_url))
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'jobs'::regclass"
            while not await scalar(tx, waiting):  # noqa: ASYNC110 - it rings no bell
                await asyncio.sleep(0.01)
        await migrating
        async with database.read() as tx:
            assert await jobs.count(tx, EVERYTHING, JobFilter()) == 1
