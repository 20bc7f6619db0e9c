"""The newest entries of the log, read once for all who follow them alike.

Each follower keeps a position of its own. What it finds at a tail spares it a read, nothing else: a follower that is
before what is kept here reads the log by itself, and comes to the tail when it has caught up.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple, Protocol

from db.records import JobLog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from services.ports import Bell

BATCH = 100
# Followers of a burst are not all equally far. Payloads may have 256 KiB each: of those fewer are kept.
KEPT, KEPT_WITH_PAYLOADS = 1_000, 100
# So many entries are given to followers, then whoever else waits has a turn: some 10 ms of sending.
TOLD_AT_ONCE = 2_000

_SEQ = attrgetter("seq")


class Batch(NamedTuple):
    """All entries after a position, up to another one."""

    entries: list[JobLog]
    up_to: int


class Read(Protocol):
    """Reads the log after a position, at most BATCH entries."""

    def __call__(self, position: int, /) -> Awaitable[Batch]: ...


class Offer(Protocol):
    """Takes an entry at once and says True, or has done nothing with it. Never waits for anything."""

    def __call__(self, entry: JobLog, /) -> bool: ...


class Waiting(asyncio.Future[int]):
    """A follower that has taken all that there is: done, with its position, once there is more that it has to take."""

    __slots__ = ("offer", "position")

    def __init__(self, position: int, offer: Offer | None) -> None:
        super().__init__()
        self.position = position
        self.offer = offer


class Tail:
    """Reads on whenever a follower has taken all that there is, and waits for the bell where there is no more.

    So the fastest follower sets the pace, and while all of them are busy nothing is read that nobody has asked for.
    """

    def __init__(self, read: Read, *, kept: int, poll_seconds: float) -> None:
        self.followers = 0
        self.end: int | None = None
        """How far the log is known: nothing can appear at or before this any more. None: not looked yet."""
        self._start = 0
        self._entries: list[JobLog] = []
        """All entries after `_start`, up to `end`."""
        self._asked_last: int | None = None
        self._answered_last: Batch | None = None
        self._read, self._kept, self._poll_seconds = read, kept, poll_seconds
        self._wanted = asyncio.Event()
        self._waiting: list[Waiting] = []
        self._error: Exception | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def has_failed(self) -> bool:
        """Whether there is nothing more to be had here."""
        return self._error is not None

    def begin(self, listening: AbstractAsyncContextManager[Bell], present: Callable[[], Awaitable[int]]) -> None:
        """Begin where the log stands now, in the trace and the context of nobody."""
        self._reading = asyncio.create_task(self._run(listening, present), context=Context())

    async def stop(self) -> None:
        """Stop; there are no followers any more."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})

    def after(self, position: int) -> Batch | None:
        """Return what comes after a position that is before the end; None where that is not kept here."""
        if position == self._asked_last:
            return self._answered_last
        if self.end is None or position < self._start:
            return None
        first = bisect_right(self._entries, position, key=_SEQ)
        entries = self._entries[first : first + BATCH]
        # Most followers are at the same place.
        self._asked_last = position
        self._answered_last = Batch(entries, entries[-1].seq if entries else self.end)
        return self._answered_last

    def more(self, position: int, offer: Offer | None = None) -> Waiting:
        """Return what is done once there may be more after a position, or has what went wrong with the reading.

        What comes meanwhile is offered, in its order. As long as it is all taken, the follower waits on; its position
        moves with what was taken.
        """
        waiting = Waiting(position, offer)
        if self._error is None:
            self._waiting.append(waiting)
            self._wanted.set()
        else:
            waiting.set_exception(self._error)
        return waiting

    async def _run(self, listening: AbstractAsyncContextManager[Bell], present: Callable[[], Awaitable[int]]) -> None:
        try:
            async with listening as bell:
                self.end = self._start = await present()
                await self._tell()
                is_all = True
                while True:
                    await self._wanted.wait()
                    if is_all and not await bell.wait(self._poll_seconds):
                        self._forget(len(self._entries))
                    entries, self.end = await self._read(self.end)
                    is_all = len(entries) < BATCH
                    if entries:
                        self._entries += entries
                        self._forget(len(self._entries) - self._kept)
                        await self._tell(len(entries))
                    else:  # who has left would be kept until there is something to tell
                        self._waiting = [one for one in self._waiting if not one.done()]
        except Exception as error:  # noqa: BLE001  (it belongs to those who follow)
            self._error = error
            for one in self._waiting:
                if not one.done():
                    one.set_exception(error)

    def _forget(self, count: int) -> None:
        if count > 0:
            self._asked_last = self._answered_last = None
            self._start = self._entries[count - 1].seq
            del self._entries[:count]

    async def _tell(self, entries: int = 0) -> None:
        """Tell those who wait, of a burst a few at a time: each sends all of it before it waits again."""
        self._wanted.clear()
        waiting, self._waiting = self._waiting, []
        at_once = max(1, TOLD_AT_ONCE // max(1, entries))
        for number, one in enumerate(waiting, 1):
            if one.done():
                continue  # it has left
            try:
                takes_all = one.offer is not None and self._takes_all(one, one.offer)
            except Exception as error:  # noqa: BLE001  (it belongs to who follows)
                one.set_exception(error)
                continue
            if takes_all:
                self._waiting.append(one)
            else:
                one.set_result(one.position)
            if number % at_once == 0:
                await asyncio.sleep(0)
        if self._waiting:
            self._wanted.set()

    def _takes_all(self, one: Waiting, offer: Offer) -> bool:
        """Offer somebody what there is after their position."""
        end = self.end or 0
        while one.position < end:
            batch = self.after(one.position)
            if batch is None:
                return False
            for entry in batch.entries:
                if not offer(entry):
                    return False
                one.position = entry.seq
            one.position = batch.up_to
        return True
