"""Reads of one level of a query, made in one go.

Nothing is kept from one batch to the next: one context may serve every operation of a WebSocket, and every event of
a subscription, for days.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# The resolvers of one level do not all get here in the same pass of the event loop: graphql-core awaits a lone
# awaitable at once and gathers several in tasks of their own, and so do resolvers that need two things.
_SETTLING_PASSES = 2


class Read(Protocol[T_co]):
    """A `functools.partial` of a service's method with all of its arguments but the keys, which must be hashable."""

    @property
    def func(self) -> Callable[..., Any]: ...
    @property
    def args(self) -> tuple[Any, ...]: ...
    @property
    def keywords(self) -> Mapping[str, Any]: ...
    def __call__(self, keys: Sequence[str], /) -> Awaitable[Sequence[T_co]]:
        """Read what there is for each key, in their order."""
        ...


class _Batch:
    """One read that is about to be made; equal keys share an answer."""

    def __init__(self, read: Read[Any]) -> None:
        self.read = read
        self.answers: dict[str, asyncio.Future[Any]] = {}


class Loaders:
    """Collects keys and reads them together: one batch for each read with equal arguments."""

    def __init__(self) -> None:
        self._open: dict[Hashable, _Batch] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def load(self, read: Read[T], key: str) -> T:
        """Return what `read(keys)` has for the key, in one call for all keys asked for at this level.

        Reads with equal functions and arguments are one.
        """
        by = (read.func, read.args, tuple(sorted(read.keywords.items())))
        batch = self._open.get(by)
        if batch is None:
            batch = self._open[by] = _Batch(read)
            task = asyncio.create_task(self._read(by))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        answer = batch.answers.get(key)
        if answer is None:
            answer = batch.answers[key] = asyncio.get_running_loop().create_future()
        # Shielded: one field that is cancelled must not take the answer away from the others.
        found: T = await asyncio.shield(answer)
        return found

    async def _read(self, by: Hashable) -> None:
        for _ in range(_SETTLING_PASSES):
            await asyncio.sleep(0)
        batch = self._open.pop(by)
        waiting = list(batch.answers.values())
        try:
            found = await batch.read(list(batch.answers))
            for answer, value in zip(waiting, found, strict=True):
                answer.set_result(value)
        except Exception as error:  # noqa: BLE001  (whatever it is, it belongs to those who wait for it)
            for answer in waiting:
                if not answer.done():
                    answer.set_exception(error)
                    # Those who waited may have been cancelled meanwhile: then nobody has to hear of it.
                    answer.exception()
