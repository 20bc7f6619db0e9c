"""Bring a database to the newest revision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from db.session import WRITES, engine_for

if TYPE_CHECKING:
    from sqlalchemy import Connection

# Any number that no other program on the same database is likely to lock.
MIGRATION_LOCK = 0x5160_0FF


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        # Replicas that start together: the first migrates, the others wait and find nothing to do.
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _is_current(connection: Connection) -> bool:
    heads = set(ScriptDirectory.from_config(_config()).get_heads())
    return set(MigrationContext.configure(connection).get_current_heads()) == heads


async def upgrade(url: str) -> None:
    """Migrate to the newest revision; nothing to do is fine. All of it commits, or nothing does."""
    engine = engine_for(url, pool_size=1)
    try:
        async with engine.connect() as connection:
            await connection.execution_options(**{WRITES: True})
            async with connection.begin():
                await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


async def is_current(url: str) -> bool:
    """Whether the database is at the newest revision that this program knows."""
    engine = engine_for(url, pool_size=1)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(_is_current)
    finally:
        await engine.dispose()
