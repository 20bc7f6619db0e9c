"""`signoff migrate`, `signoff purge` and `signoff rotate-keys`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Annotated, TypeVar

from cyclopts import Parameter

from app.commands import CommandError, say, seconds_of
from app.secrets import StoredSecrets, secret_keys
from app.settings import Settings, load
from db import logs
from db.migrate import upgrade
from db.session import Database, without_secrets
from services import key_rotation
from services.key_rotation import Rotated

T = TypeVar("T")

# Some milliseconds a transaction.
BATCH = 500


def migrate_command() -> None:
    """Bring the database to the newest revision."""
    migrate(load(serves=False))
    say("The database is at the newest revision.")


def migrate(settings: Settings) -> None:
    """Bring the database to the newest revision. Raises CommandError."""
    where = without_secrets(settings.database_url)
    run(upgrade(settings.database_url), f"the database {where} cannot be brought to the newest revision")


def purge(
    *,
    older_than: Annotated[str, Parameter(help="How old an entry must be: 90d, 12h.")],
    dry_run: Annotated[bool, Parameter(help="Only count.", negative="")] = False,
) -> None:
    """Empty old log payloads of finished executions, in batches. Entries stay, marked PURGED."""
    seconds = seconds_of(older_than)
    count = run(purged(load(serves=False), seconds, dry_run=dry_run), "the logs cannot be purged")
    say(f"Payloads {'that would be emptied' if dry_run else 'emptied'}: {count}")


async def purged(settings: Settings, older_than_seconds: float, *, dry_run: bool) -> int:
    database = Database.open(settings.database_url, pool_size=1)
    try:
        if dry_run:
            async with database.read() as tx:
                return await logs.purgeable(tx, older_than_seconds)
        emptied, after = 0, 0
        while True:
            # A transaction for each batch: nobody is held up, and Ctrl-C loses little.
            async with database.begin() as tx:
                count, position = await logs.purge(tx, older_than_seconds, after=after, limit=BATCH)
            emptied += count
            if position is None:
                break
            after = position
        return emptied
    finally:
        await database.close()


def rotate_keys(*, dry_run: Annotated[bool, Parameter(help="Only count.", negative="")] = False) -> None:
    """Encrypt every stored secret with SIGNOFF_SECRET_KEY, reading with SIGNOFF_OLD_SECRET_KEYS too."""
    settings = load()
    secrets = StoredSecrets.of(secret_keys(settings))
    rotated = run(_rotated(settings, secrets, dry_run=dry_run), "the stored secrets cannot be re-encrypted")
    say(f"Secrets {'to be re-encrypted' if dry_run else 're-encrypted'}: {rotated.renewed}")
    say(f"Under the present key {secrets.current} already: {rotated.current}")
    if rotated.expired:
        say(f"Replaced secrets whose time is over, {'to be ' if dry_run else ''}forgotten: {rotated.expired}")
    if rotated.unreadable:
        keys = ", ".join(f"{count} under {key}" for key, count in sorted(rotated.unreadable.items()))
        raise CommandError(
            f"no known key reads {rotated.unreadable.total()} stored secrets ({keys}): add the old key to"
            " SIGNOFF_OLD_SECRET_KEYS, or set these agents' secrets again"
        )


async def _rotated(settings: Settings, secrets: StoredSecrets, *, dry_run: bool) -> Rotated:
    database = Database.open(settings.database_url, pool_size=1)
    try:
        return await key_rotation.rotate_keys(database, secrets, dry_run=dry_run)
    finally:
        await database.close()


def run(work: Coroutine[None, None, T], what_failed: str) -> T:
    """Run database work, and say in one line what kept it from being done. Raises CommandError."""

    async def done() -> T:
        try:
            return await work
        except BaseException:
            # SQLite's driver lets go of a file that it could not open from a thread, which speaks to this loop.
            await asyncio.sleep(0.05)
            raise

    try:
        return asyncio.run(done())
    except Exception as error:  # noqa: BLE001 - drivers raise whatever they like
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise CommandError(f"{what_failed}: {lines[0]}") from None
