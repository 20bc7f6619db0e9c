"""Reads of one level of a query, made in one go.

Nothing is kept from one batch to the next: one context may serve every operation of a WebSocket, and every event of
a subscription, for days.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, overload

T = TypeVar("T")
R = TypeVar("R")
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
    """One read that is about to be made; equal keys share what was read."""

    def __init__(self, read: Read[Any]) -> None:
        self.read = read
        # Kept for as long as the batch is open: until then its identity is its own.
        self.reads = [read]
        self.waiting: dict[str, list[tuple[asyncio.Future[Any], Callable[[Any], Any] | None]]] = {}


class Loaders:
    """Collects keys and reads them together: one batch for each read with equal arguments."""

    def __init__(self) -> None:
        self._open: dict[Hashable, _Batch] = {}
        self._by_identity: dict[int, _Batch] = {}
        self._running: set[asyncio.Task[None]] = set()

    @overload
    def load(self, read: Read[T], key: str) -> asyncio.Future[T]: ...
    @overload
    def load(self, read: Read[T], key: str, then: Callable[[T], R] | None) -> asyncio.Future[R]: ...
    def load(self, read: Read[Any], key: str, then: Callable[[Any], Any] | None = None) -> asyncio.Future[Any]:
        """Return what `read(keys)` has for the key, in one call for all keys asked for at this level.

        Reads with equal functions and arguments are one; `then` is what is made of what was read. Each gets a future
        of its own: one field that is cancelled does not take the answer away from the others.
        """
        batch = self._by_identity.get(id(read)) or self._batch(read)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        waiting = batch.waiting.get(key)
        if waiting is None:
            batch.waiting[key] = [(answer, then)]
        else:
            waiting.append((answer, then))
        return answer

    def _batch(self, read: Read[Any]) -> _Batch:
        by = (read.func, read.args, tuple(sorted(read.keywords.items())))
        batch = self._open.get(by)
        if batch is None:
            batch = self._open[by] = _Batch(read)
            task = asyncio.create_task(self._read(by))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        else:
            batch.reads.append(read)
        self._by_identity[id(read)] = batch
        return batch

    async def _read(self, by: Hashable) -> None:
        for _ in range(_SETTLING_PASSES):
            await asyncio.sleep(0)
        batch = self._open.pop(by)
        for read in batch.reads:
            del self._by_identity[id(read)]
        try:
            found = await batch.read(list(batch.waiting))
            for waiting, value in zip(batch.waiting.values(), found, strict=True):
                for answer, then in waiting:
                    _answer(answer, value, then)
        except Exception as error:  # noqa: BLE001  (whatever it is, it belongs to those who wait for it)
            for waiting in batch.waiting.values():
                for answer, _ in waiting:
                    _fail(answer, error)


def _answer(answer: asyncio.Future[Any], value: Any, then: Callable[[Any], Any] | None) -> None:
    if answer.done():
        return
    if then is not None:
        try:
            value = then(value)
        except Exception as error:  # noqa: BLE001  (it belongs to the one who waits)
            _fail(answer, error)
            return
    answer.set_result(value)


def _fail(answer: asyncio.Future[Any], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
        # Those who waited may have been cancelled meanwhile: then nobody has to hear of it.
        answer.exception()
