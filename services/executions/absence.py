"""What others have answered waits for a database that is away: they cannot be asked a second time, or not for free."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, TypeVar

from db.session import is_away

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)
T = TypeVar("T")

# How long an answer waits for the database: a restart, a failover.
LONGEST_ABSENCE_SECONDS = 120.0


async def once_there(write: Callable[[], Awaitable[T]]) -> T:
    """Commit what an agent or a validator has answered, again while the database is away.

    A commit whose success was not heard of fails the second time, for a request has one response: whoever takes over
    then finds it done.
    """
    give_up_at = time.monotonic() + LONGEST_ABSENCE_SECONDS
    delay = 0.1
    while True:
        try:
            return await write()
        except Exception as error:
            if not is_away(error) or time.monotonic() > give_up_at:
                raise
            log.warning("the database is away, and an answer waits for it: %s", type(error).__name__)
        await asyncio.sleep(delay)
        delay = min(1.0, 2 * delay)
