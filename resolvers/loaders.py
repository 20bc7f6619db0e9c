"""Reads of one level of a query, made in one go.

Nothing is kept from one batch to the next: one context may serve every operation of a WebSocket, and every event of
a subscription, for days.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Hashable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar, overload

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

    __slots__ = ("arrival", "error", "found", "read", "reads")

    def __init__(self, read: Read[Any]) -> None:
        self.read = read
        # Kept for as long as the batch is open: until then its identity is its own.
        self.reads = [read]
        self.arrival: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.found: dict[str, Any] = {}
        self.error: Exception | None = None


class Loaded(Generic[T]):
    """What a loader will have for one key; whoever executes the operation may wait for the whole batch once."""

    __slots__ = ("_batch", "_key", "_then")

    def __init__(self, batch: _Batch, key: str, then: Callable[[Any], Any] | None) -> None:
        self._batch = batch
        self._key = key
        self._then = then

    @property
    def arrival(self) -> asyncio.Future[None]:
        """Done when the batch has been read. It belongs to all who wait for it."""
        return self._batch.arrival

    def value(self) -> T:
        """What was read. Raises what reading it raised."""
        batch = self._batch
        if batch.error is not None:
            raise batch.error
        found = batch.found[self._key]
        value: T = found if self._then is None else self._then(found)
        return value

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for it; who stops waiting does not take it away from the others."""
        yield from asyncio.shield(self.arrival).__await__()
        return self.value()


class Loaders:
    """Collects keys and reads them together: one batch for each read with equal arguments."""

    def __init__(self) -> None:
        self._open: dict[Hashable, _Batch] = {}
        self._by_identity: dict[int, _Batch] = {}
        self._running: set[asyncio.Task[None]] = set()

    @overload
    def load(self, read: Read[T], key: str) -> Loaded[T]: ...
    @overload
    def load(self, read: Read[T], key: str, then: Callable[[T], R] | None) -> Loaded[R]: ...
    def load(self, read: Read[Any], key: str, then: Callable[[Any], Any] | None = None) -> Loaded[Any]:
        """Return what `read(keys)` has for the key, in one call for all keys asked for at this level.

        Reads with equal functions and arguments are one; `then` is what is made of what was read.
        """
        batch = self._by_identity.get(id(read)) or self._batch(read)
        batch.found[key] = None
        return Loaded(batch, key, then)

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
        keys = list(batch.found)
        try:
            batch.found = dict(zip(keys, await batch.read(keys), strict=True))
        except Exception as error:  # noqa: BLE001  (whatever it is, it belongs to those who wait for it)
            batch.error = error
        batch.arrival.set_result(None)
