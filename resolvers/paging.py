"""One page of a list, as every connection type shows it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from itertools import repeat
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar, cast

from db.records import PageOf
from resolvers.context import Info
from resolvers.keyed import Reading
from resolvers.loaders import Read

R = TypeVar("R")
_new = cast("Any", tuple.__new__)  # pyright: ignore[reportUnknownMemberType]  (typeshed leaves it open)


CursorsOf: TypeAlias = Callable[[Sequence[R]], Iterable[str]]
"""Makes the cursors of rows: `partial(map, cursor_of)`, or all of them at once."""


class Edge(NamedTuple, Generic[R]):
    """A row and its place in the list."""

    node: R
    cursor: str


class PageInfo(NamedTuple, Generic[R]):
    """What lies beyond the page."""

    page: PageOf[R]
    cursors_of: CursorsOf[R]

    @property
    def has_next_page(self) -> bool:
        """Whether there is more after it."""
        return self.page.has_next

    @property
    def has_previous_page(self) -> bool:
        """Whether there is more before it."""
        return self.page.has_previous

    @property
    def start_cursor(self) -> str | None:
        """The first row's cursor."""
        return next(iter(self.cursors_of(self.page.rows[:1])), None)

    @property
    def end_cursor(self) -> str | None:
        """The last row's cursor."""
        return next(iter(self.cursors_of(self.page.rows[-1:])), None)


class Listed(NamedTuple, Generic[R]):
    """A page, how its rows become cursors, and a way to count the whole list, taken only if it is asked for."""

    page: PageOf[R]
    cursors_of: CursorsOf[R]
    total: Callable[[], Awaitable[int]]

    @property
    def nodes(self) -> Sequence[R]:
        """The rows."""
        return self.page.rows

    @property
    def edges(self) -> Sequence[Edge[R]]:
        """The rows with their cursors."""
        rows = self.page.rows
        # A third of what calling the class takes, for each of the thousands on a page.
        return list(map(_new, repeat(Edge), zip(rows, self.cursors_of(rows), strict=True)))

    @property
    def page_info(self) -> PageInfo[R]:
        """What lies beyond."""
        return PageInfo(self.page, self.cursors_of)

    @property
    def total_count(self) -> Awaitable[int]:
        """How many rows the whole list has: awaited by whoever completes the field."""
        return self.total()


def listed(info: Info, read: Read[PageOf[R]], count: Read[int], cursors_of: CursorsOf[R]) -> Reading[Listed[R]]:
    """How the page of each parent is read, together with those of the other parents, and so are their counts."""
    load = info.context.loaders.load

    def of(parent_id: str, page: PageOf[R]) -> Listed[R]:
        return Listed(page, cursors_of, partial(load, count, parent_id))

    return Reading(read, of)
