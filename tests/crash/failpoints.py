"""Named places at which a server process ends or stops itself: around every transaction, and around every send.

They are put in from outside, by wrapping; the program itself knows nothing of them. A transaction is named after
the function that opens it, so that a new one is a new failpoint by itself. Stages: `before` a transaction begins or a
request is sent, `inside` it just before the commit, `after` it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

from db.session import Database, Transaction, is_postgresql
from services.executions import validation
from services.executors.http_json import HttpJson
from tests.crash.patching import put

# Functions that only pass a transaction on.
_PLUMBING = {"_AsyncGeneratorContextManager.__aenter__", "_AsyncGeneratorContextManager.__aexit__"}


@dataclass
class Failpoints:
    """`armed` is `name/stage`; the process does `how` to itself when it comes there, once it has come to `after`.

    All names go to `record`.
    """

    armed: str | None = None
    after: str | None = None
    how: signal.Signals = signal.SIGKILL
    record: Path | None = None
    seen: Counter[str] = field(default_factory=Counter)
    writing: int = 0
    """How many transactions this process has under way on an SQLite database, or waits for."""

    async def come_to(self, name: str, stage: str) -> None:
        point = f"{name}/{stage}"
        self.seen[point] += 1
        if self.record is not None and self.seen[point] == 1:
            with self.record.open("a") as file:
                file.write(point + "\n")
        if point == self.armed and (self.after is None or self.seen[self.after]):
            self.armed = None
            # Stopped with SQLite's only lock it would stop everybody else: there a process ends, or lets go.
            while self.how is signal.SIGSTOP and self.writing:  # noqa: ASYNC110 - it rings no bell
                await asyncio.sleep(0.001)
            os.kill(os.getpid(), self.how)

    @contextmanager
    def counted(self, database: Database) -> Generator[None]:
        """Count a transaction as long as it may keep others from writing."""
        locks = not is_postgresql(str(database.url))
        self.writing += locks
        try:
            yield
        finally:
            self.writing -= locks

    def install(self) -> None:
        """Wrap what opens transactions and what sends."""
        asking_class = validation._Asking  # noqa: SLF001
        begin, send, ask = Database.begin, HttpJson.send, asking_class.__call__

        @asynccontextmanager
        async def watched_begin(database: Database, **how: bool) -> AsyncGenerator[Transaction]:
            name = opener()
            await self.come_to(name, "before")
            with self.counted(database):
                async with begin(database, **how) as tx:
                    yield tx
                    await self.come_to(name, "inside")
            await self.come_to(name, "after")

        @wraps(send)
        async def watched_send(*args: Any) -> Any:
            await self.come_to("send to the agent", "before")
            answer = await send(*args)
            await self.come_to("send to the agent", "after")
            return answer

        @wraps(ask)
        async def watched_ask(asking: Any, request: Any, send_it: Any, read: Any, **rest: Any) -> Any:
            async def watched() -> Any:
                await self.come_to("send to the validator", "before")
                reply = await send_it()
                await self.come_to("send to the validator", "after")
                return reply

            return await ask(asking, request, watched, read, **rest)

        put(Database, "begin", watched_begin)
        put(HttpJson, "send", watched_send)
        put(asking_class, "__call__", watched_ask)


def opener() -> str:
    """The function that opens the transaction."""
    frame = sys._getframe(2)  # noqa: SLF001
    while frame.f_back is not None and frame.f_code.co_qualname in _PLUMBING:
        frame = frame.f_back
    return frame.f_code.co_qualname
