"""What one execution still waits for.

graphql-core gives every level that waits a coroutine of its own, gathered by the one above. Here the answer is built
at once, with a gap for each value that is still to come, and all that is awaited is in one flat set: a value that
arrives is completed and put into its gap, and what it needs in turn joins the set.

Places in the answer are written down as (field, path, index), and a `Path` is made of them only where somebody asks:
the field of a source, which is the item `index` of the list at `path`, or is itself at `path` where there is no
index; without a field, the source itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from graphql.pyutils import Path

if TYPE_CHECKING:
    from compiled.bindings import Batch
    from compiled.fields import FieldPlan, KeyedField, RunField

# Plain tuples, because they are made for each object of an answer: a named one takes three times as long.

Bound: TypeAlias = "tuple[Any, Any, FieldPlan | None, Path | None, int | None]"
"""The nearest place above a field that may be null, where its null goes if it may not be null itself: what holds it,
under which key, and its place."""

Gap: TypeAlias = "tuple[KeyedField, Any, dict[str, Any], Path | None, int | None, Bound | None]"
"""A gap in the answer for a value that is read by its key: field, key, what holds the gap, place and bound."""


def place_of(field: FieldPlan | None, path: Path | None, index: int | None) -> Path:
    """Return a place in the answer, which is not the whole of it."""
    if field is not None:
        return field.path(path, index)
    at: Any = path if index is None else Path(path, index, None)
    found: Path = at
    return found


class Pending:
    """A gap in the answer, and the awaitable that will fill it."""

    __slots__ = ("awaitable", "bound", "container", "field", "gone", "index", "key", "path")

    def __init__(
        self,
        awaitable: Awaitable[Any],
        container: Any,
        key: Any,
        field: RunField | None,
        path: Path | None,
        index: int | None,
        bound: Bound | None,
    ) -> None:
        self.awaitable = awaitable
        self.container = container
        self.key = key
        # None: what arrives is complete, and its errors are told already.
        self.field = field
        self.path = path
        self.index = index
        self.bound = bound
        self.gone = False

    def cut(self, gone: list[str | int]) -> bool:
        """Let go of the gap if it is below a place; returns whether it is still there."""
        self.gone = self.gone or _is_below(_place_of_new(self), gone)
        return not self.gone

    async def here(self, flight: Flight) -> None:
        """Await the value and put it into the gap, within the flight itself."""
        try:
            value = await self.awaitable
        except Exception as error:  # noqa: BLE001  (whatever it is, it is the field's)
            self._failed(flight, error)
        else:
            self._arrived(flight, value)

    def land(self, flight: Flight, future: asyncio.Future[Any]) -> None:
        """Put what has come of the awaitable into the gap."""
        if self.gone:
            _see(future)
            return
        try:
            value = future.result()
        except Exception as error:  # noqa: BLE001  (whatever it is, it is the field's)
            self._failed(flight, error)
        else:
            self._arrived(flight, value)

    def _arrived(self, flight: Flight, value: Any) -> None:
        mark = len(flight.new)
        try:
            if self.field is None:
                self.container[self.key] = value
            else:
                self.field.land(flight, value, self.path, self.index, self.container, self.bound)
        except Exception as error:  # noqa: BLE001
            flight.drop(mark)
            flight.nullify(self.bound, error)

    def _failed(self, flight: Flight, error: Exception) -> None:
        if self.field is None:
            flight.nullify(self.bound, error)
        else:
            flight.failed(self.field, error, self.path, self.index, self.bound)


class Keyed:
    """The gaps of one field that are filled with what is read by their keys."""

    __slots__ = ("batch", "field", "gaps")

    def __init__(self, field: KeyedField, gaps: list[Gap]) -> None:
        self.field = field
        self.gaps = gaps
        self.batch: Batch

    def cut(self, gone: list[str | int]) -> bool:
        """Let go of the gaps below a place; returns whether there are others."""
        # The same list: it may be just being filled.
        self.gaps[:] = [gap for gap in self.gaps if not _is_below(gap[0].path(gap[3], gap[4]), gone)]
        return bool(self.gaps)

    async def here(self, flight: Flight) -> None:
        """Read, and fill the gaps, within the flight itself."""
        keys = list(dict.fromkeys([gap[1] for gap in self.gaps]))
        try:
            values = await flight.executor.calls[self.field].read(keys)
            found = dict(zip(keys, values, strict=True))
        except Exception as error:  # noqa: BLE001  (whatever it is, it is the error of each)
            self.field.fail(flight, error, self.gaps)
        else:
            self.field.fill(flight, found, self.gaps)

    def join(self, flight: Flight) -> Batch:
        """Have the keys read along with those of others."""
        self.batch = flight.executor.calls[self.field].join([gap[1] for gap in self.gaps])
        return self.batch

    def land(self, flight: Flight, _future: asyncio.Future[Any]) -> None:
        """Fill the gaps with what was read."""
        try:
            found = self.batch.found()
        except Exception as error:  # noqa: BLE001  (as above)
            self.field.fail(flight, error, self.gaps)
        else:
            self.field.fill(flight, found, self.gaps)


class Flight:
    """The execution of one selection set and all below it."""

    __slots__ = ("_arrived", "_landing", "_waiting", "_whole", "_woken", "executor", "new", "readable")

    def __init__(self, executor: Any, *, whole: bool = False) -> None:
        """`whole` says that it is all that its operation executes."""
        self.executor = executor
        # Fields of which it is known how they are read by keys.
        self.readable: set[KeyedField] = set()
        # Found since the last pass and not begun. Whoever takes a subtree away cuts it off here.
        self.new: list[Pending | Gap] = []
        self._waiting: dict[asyncio.Future[Any], list[Pending | Keyed]] = {}
        # What is done and not looked at, and what wakes the flight to do so.
        self._arrived: list[asyncio.Future[Any]] = []
        self._woken: asyncio.Future[None] | None = None
        # What waited for the future that is looked at just now.
        self._landing: list[Pending | Keyed] = []
        self._whole = whole

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
            self._settle(self.new[mark:])
            del self.new[mark:]

    def failed(
        self, field: FieldPlan, error: Exception, path: Path | None, index: int | None, bound: Bound | None
    ) -> None:
        """Tell of a field's error. Its place is null already; where it may not be, the one above is."""
        try:
            field.failed(self.executor, error, field.path(path, index))
        except Exception as located:  # noqa: BLE001
            self.nullify(bound, located)

    def nullify(self, bound: Bound | None, error: Exception) -> None:
        """Put null where it may be, and let go of all that was awaited below."""
        if bound is None:
            raise error
        container, key, field, at, index = bound
        container[key] = None
        path = place_of(field, at, index)
        self.executor.collected_errors.add(error, path)
        gone = path.as_list()
        found, self.new = self.new, []
        below: list[Pending | Gap] = []
        for new in found:
            (below if _is_below(_place_of_new(new), gone) else self.new).append(new)
        self._settle(below)
        for item in self._landing:
            item.cut(gone)
        for future, items in list(self._waiting.items()):
            left = [item for item in items if item.cut(gone)]
            if left:
                self._waiting[future] = left
            else:
                del self._waiting[future]
                if items[0].__class__ is Pending:
                    future.cancel()

    def _settle(self, items: list[Pending | Gap]) -> None:
        # Each is seen to its end, so that nothing is left that nobody awaited. What is read by keys is not begun.
        awaitables = [item.awaitable for item in items if isinstance(item, Pending)]
        if awaitables:
            self.executor.settle_in_background(awaitables)

    # ---------------------------------------------------------------------------------------------------- waiting

    async def _wait(self, answer: Any) -> Any:
        try:
            while self.new or self._waiting:
                alone = self._begin()
                if alone is not None:
                    # A task of its own would be for nothing.
                    self._landing = [alone]
                    await alone.here(self)
                elif self._waiting:
                    await self._arrival()
        except BaseException:
            await self._cancel_all()
            raise
        return answer

    def _begin(self) -> Pending | Keyed | None:
        """Begin to wait for what was found. Returns what is awaited alone: the flight does that itself."""
        found: list[Any] = self.new
        self.new = []
        alone = not self._waiting
        if len(found) == 1 and alone and found[0].__class__ is Pending:
            only: Pending = found[0]
            return only
        by_field: dict[KeyedField, list[Gap]] = {}
        for item in found:
            if item.__class__ is Pending:
                alone = False
                self._wait_for(asyncio.ensure_future(item.awaitable), item)
            else:
                try:
                    by_field[item[0]].append(item)
                except KeyError:
                    by_field[item[0]] = [item]
        # Where all that is awaited was found just now and is read by keys, nobody is on the way to ask for more.
        at_once = alone and self._whole
        read = [Keyed(field, gaps) for field, gaps in by_field.items()]
        if at_once and len(read) == 1:
            return read[0]
        batches: list[Batch] = []
        for item in read:
            try:
                batch = item.join(self)
            except Exception as error:  # noqa: BLE001  (whatever it is, it is the error of each)
                item.field.fail(self, error, item.gaps)
            else:
                batches.append(batch)
                self._wait_for(batch.arrival, item)
        for batch in batches:
            batch.begin(at_once=at_once)
        return None

    def _wait_for(self, future: asyncio.Future[Any], item: Pending | Keyed) -> None:
        waiting = self._waiting.get(future)
        if waiting is None:
            self._waiting[future] = [item]
            future.add_done_callback(self._done)
        else:
            waiting.append(item)

    def _done(self, future: asyncio.Future[Any]) -> None:
        if future not in self._waiting:
            # Taken away meanwhile: what became of it is nobody's concern.
            _see(future)
            return
        self._arrived.append(future)
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def _arrival(self) -> None:
        """Wait until something has arrived, and put it into its gaps."""
        if not self._arrived:
            self._woken = asyncio.get_running_loop().create_future()
            await self._woken
        arrived, self._arrived = self._arrived, []
        for future in arrived:
            self._land(future)

    def _land(self, future: asyncio.Future[Any]) -> None:
        landing = self._waiting.pop(future, None)
        if landing is None:
            _see(future)
            return
        if future.cancelled():
            # As if the coroutine that awaits everything had been cancelled within.
            raise asyncio.CancelledError
        self._landing = landing
        for item in landing:
            item.land(self, future)
        self._landing = []

    async def _cancel_all(self) -> None:
        self.drop(0)
        running = [future for future, items in self._waiting.items() if isinstance(items[0], Pending)]
        self._waiting.clear()
        for future in running:
            future.cancel()
        if running:
            await asyncio.gather(*running, return_exceptions=True)


def _place_of_new(item: Pending | Gap) -> Path:
    if isinstance(item, Pending):
        return place_of(item.field, item.path, item.index)
    return item[0].path(item[3], item[4])


def _is_below(path: Path, gone: list[str | int]) -> bool:
    return path.as_list()[: len(gone)] == gone


def _see(future: asyncio.Future[Any]) -> None:
    """Look at what became of a future, so that nobody is told that nobody did."""
    if not future.cancelled():
        future.exception()
