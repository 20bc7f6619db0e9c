"""Reads of one level of a query, made in one go.

Nothing is kept from one batch to the next: one context may serve every operation of a WebSocket, and every event of
a subscription, for days.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable, Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar, overload

T = TypeVar("T")
R = TypeVar("R")
T_co = TypeVar("T_co", covariant=True)

# The resolvers of one level do not all get here in the same pass of the event loop: graphql-core awaits a lone
# awaitable at once and gathers several in tasks of their own, and so do resolvers that need two things.
_SETTLING_PASSES = 2


class Read(Protocol[T_co]):
    """A `functools.partial` of a service's method with all of its arguments but the keys, which must be hashable.

    Where it has `parts`, which say what of records is read, it may be called with others.
    """

    @property
    def func(self) -> Callable[..., Any]: ...
    @property
    def args(self) -> tuple[Any, ...]: ...
    @property
    def keywords(self) -> Mapping[str, Any]: ...
    def __call__(self, keys: Sequence[str], /) -> Awaitable[Sequence[T_co]]:
        """Read what there is for each key, in their order."""
        ...


class Batch:
    """One read that is about to be made, or was; equal keys share what was read."""

    __slots__ = ("_begun", "_by", "_error", "_found", "_loaders", "_parts", "_read", "arrival")

    def __init__(self, loaders: Loaders, by: Hashable, read: Read[Any]) -> None:
        self._loaders = loaders
        self._by = by
        self._read: Any = read
        self._parts: frozenset[str] = frozenset()
        self._found: dict[str, Any] = {}
        self._error: Exception | None = None
        self.arrival: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when it has been read. It belongs to all who wait for it."""
        self._begun = False

    def add(self, keys: Iterable[str], parts: frozenset[str]) -> None:
        """Have these read too, with these parts."""
        self._found.update(dict.fromkeys(keys))
        self._parts |= parts

    def found(self) -> Mapping[str, Any]:
        """What was read. Raises what reading it raised."""
        if self._error is not None:
            raise self._error
        return self._found

    def begin(self, *, at_once: bool) -> None:
        """Have it read: at once, or when the others of this level have joined."""
        if not self._begun:
            self._begun = True
            self._loaders.run(self._read_after(0 if at_once else _SETTLING_PASSES))

    async def _read_after(self, passes: int) -> None:
        for _ in range(passes):
            await asyncio.sleep(0)
        self._loaders.close(self._by)
        keys = list(self._found)
        try:
            read = self._read(keys, parts=self._parts) if self._parts else self._read(keys)
            self._found = dict(zip(keys, await read, strict=True))
        except Exception as error:  # noqa: BLE001  (whatever it is, it belongs to those who wait for it)
            self._error = error
        self.arrival.set_result(None)


class Loaded(Generic[T]):
    """What a loader will have for one key."""

    __slots__ = ("_batch", "_key", "_then")

    def __init__(self, batch: Batch, key: str, then: Callable[[str, Any], T] | None) -> None:
        self._batch = batch
        self._key = key
        self._then = then

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for it; who stops waiting does not take it away from the others."""
        yield from asyncio.shield(self._batch.arrival).__await__()
        found = self._batch.found()[self._key]
        value: T = found if self._then is None else self._then(self._key, found)
        return value


class Loaders:
    """Collects keys and reads them together: one batch for each read with equal arguments."""

    def __init__(self) -> None:
        self._open: dict[Hashable, Batch] = {}
        self._running: set[asyncio.Task[None]] = set()

    @overload
    def load(self, read: Read[T], key: str) -> Loaded[T]: ...
    @overload
    def load(self, read: Read[T], key: str, then: Callable[[str, T], R] | None) -> Loaded[R]: ...
    def load(self, read: Read[Any], key: str, then: Callable[[str, Any], Any] | None = None) -> Loaded[Any]:
        """Return what `read(keys)` has for the key, in one call for all keys asked for at this level.

        Reads with equal functions and arguments are one, with all the parts that any of them asks for; `then` is what
        is made of the key and what was read.
        """
        batch = self.join(read, (key,))
        batch.begin(at_once=False)
        return Loaded(batch, key, then)

    def join(self, read: Read[Any], keys: Iterable[str]) -> Batch:
        """Return the batch in which these keys will be read. Whoever joins sees to it that it is begun."""
        parts: frozenset[str] | None = read.keywords.get("parts")
        others = sorted(argument for argument in read.keywords.items() if argument[0] != "parts")
        by = (read.func, read.args, tuple(others), parts is None)
        batch = self._open.get(by)
        if batch is None:
            batch = self._open[by] = Batch(self, by, read)
        batch.add(keys, parts or frozenset())
        return batch

    def close(self, by: Hashable) -> None:
        """Let nobody join what is being read."""
        del self._open[by]

    def run(self, reading: Coroutine[Any, Any, None]) -> None:
        """Have a batch read in a task that is kept until it is done."""
        task = asyncio.create_task(reading)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
