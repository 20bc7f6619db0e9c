"""What one execution still waits for.

graphql-core gives every level that waits a coroutine of its own, gathered by the one above. Here the answer is built
at once, with a gap for each value that is still to come, and all that is awaited is in one flat set: a value that
arrives is completed and put into its gap, and what it needs in turn joins the set.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from graphql.pyutils import Path

if TYPE_CHECKING:
    from graphql.execution import Executor


class Bound(NamedTuple):
    """The nearest place above a field that may be null: where its null goes if it may not be null itself."""

    container: Any
    key: Any
    path: Path


class Lands(Protocol):
    """A field whose value is awaited."""

    def land(self, flight: Flight, value: Any, path: Path, container: Any, bound: Bound | None) -> None:
        """Complete a value and put it into its gap. Raises where that leaves null in a place that may not be."""
        ...

    def failed(self, executor: Executor[Any], error: Exception, path: Path) -> None:
        """Tell of an error. Raises it, located, where the field may not be null."""
        ...


class Pending:
    """A gap in the answer, and what will fill it."""

    __slots__ = ("arrival", "awaitable", "bound", "container", "field", "key", "path")

    def __init__(
        self,
        awaitable: Awaitable[Any],
        container: Any,
        key: Any,
        field: Lands | None,
        path: Path,
        bound: Bound | None,
    ) -> None:
        self.awaitable = awaitable
        # What it waits for that others wait for too, see `bindings.Joint`; None where it waits for something alone.
        self.arrival: asyncio.Future[Any] | None = getattr(awaitable, "arrival", None)
        self.container = container
        self.key = key
        # None: what arrives is complete, and its errors are told already.
        self.field = field
        self.path = path
        self.bound = bound


class Flight:
    """The execution of one selection set and all below it."""

    __slots__ = ("_done", "_landing", "_running", "executor", "new")

    def __init__(self, executor: Any) -> None:
        self.executor = executor
        # Found since the last pass and not begun. Whoever takes a subtree away cuts it off here.
        self.new: list[Pending] = []
        self._running: dict[asyncio.Future[Any], list[Pending]] = {}
        # What waited for the future that is done just now.
        self._landing: list[Pending] = []
        self._done: asyncio.Future[None] | None = None

    def run(self, build: Callable[..., Any], source: Any, path: Path | None) -> Any:
        """Execute a selection set on a source; returns the answer, or a coroutine of it where something is awaited."""
        try:
            answer = build(self, source, path, None, None)
        except BaseException:
            self.drop(0)
            raise
        return self._wait(answer) if self.new else answer

    def drop(self, mark: int) -> None:
        """Forget what was found since there were `mark` of them: a null has taken their place away."""
        if len(self.new) > mark:
            # Begun or not, each is seen to its end, so that nothing is left that nobody awaited.
            self.executor.settle_in_background([item.awaitable for item in self.new[mark:]])
            del self.new[mark:]

    async def _wait(self, answer: Any) -> Any:
        try:
            # One thing alone is awaited right here: a task of its own would be for nothing.
            while len(self.new) == 1 and self.new[0].arrival is None:
                item = self.new.pop()
                try:
                    value = await item.awaitable
                except Exception as error:  # noqa: BLE001  (whatever it is, it is the field's)
                    self._failed(item, error)
                else:
                    self._arrived(item, value)
            if self.new:
                self._done = asyncio.get_running_loop().create_future()
                self._begin()
                await self._done
        except BaseException:
            await self._cancel_all()
            raise
        return answer

    async def _cancel_all(self) -> None:
        self.drop(0)
        running = [future for future, items in self._running.items() if items[0].arrival is None]
        self._running.clear()
        for future in running:
            future.cancel()
        if running:
            await asyncio.gather(*running, return_exceptions=True)

    def _begin(self) -> None:
        """Wait for what was found."""
        found = self.new[:]
        self.new.clear()
        for item in found:
            future = item.arrival or asyncio.ensure_future(item.awaitable)
            waiting = self._running.get(future)
            if waiting is None:
                self._running[future] = [item]
                future.add_done_callback(self._landed)
            else:
                # Several fields wait for the same: each has its own gap.
                waiting.append(item)

    def _landed(self, future: asyncio.Future[Any]) -> None:
        items = self._running.pop(future, None)
        done = self._done
        if items is None or done is None or done.done():
            # Taken away meanwhile, or the answer is known without it: what became of it is nobody's concern.
            if not future.cancelled():
                future.exception()
            return
        try:
            if future.cancelled():
                # As if the coroutine that awaits everything had been cancelled within.
                done.cancel()
                return
            self._landing = items[::-1]
            while self._landing:
                item = self._landing.pop()
                try:
                    awaitable: Any = item.awaitable
                    value = future.result() if item.arrival is None else awaitable.value()
                except Exception as error:  # noqa: BLE001  (whatever it is, it is the field's)
                    self._failed(item, error)
                else:
                    self._arrived(item, value)
            if self.new:
                self._begin()
            if not self._running:
                done.set_result(None)
        except BaseException as error:  # noqa: BLE001  (it is raised where the flight is awaited)
            done.set_exception(error)

    def _arrived(self, item: Pending, value: Any) -> None:
        mark = len(self.new)
        try:
            if item.field is None:
                item.container[item.key] = value
            else:
                item.field.land(self, value, item.path, item.container, item.bound)
        except Exception as error:  # noqa: BLE001
            self.drop(mark)
            self._nullify(item, error)

    def _failed(self, item: Pending, error: Exception) -> None:
        if item.field is None:
            self._nullify(item, error)
            return
        try:
            item.field.failed(self.executor, error, item.path)
        except Exception as located:  # noqa: BLE001
            self._nullify(item, located)

    def _nullify(self, item: Pending, error: Exception) -> None:
        """Put null where it may be, and let go of all that was awaited below."""
        bound = item.bound
        if bound is None:
            raise error
        bound.container[bound.key] = None
        self.executor.collected_errors.add(error, bound.path)
        gone = bound.path.as_list()
        depth = len(gone)

        def kept(items: list[Pending]) -> list[Pending]:
            return [other for other in items if other.path.as_list()[:depth] != gone]

        self._landing = kept(self._landing)
        for future, items in list(self._running.items()):
            left = kept(items)
            if left:
                self._running[future] = left
            else:
                del self._running[future]
                if items[0].arrival is None:
                    future.cancel()
