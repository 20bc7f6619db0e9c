"""One page of a list, as every connection type shows it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from db.records import PageOf
from resolvers.context import Info
from resolvers.keyed import Reading
from resolvers.loaders import Read

R = TypeVar("R")


class Edge(NamedTuple, Generic[R]):
    """A row and its place in the list."""

    node: R
    cursor: str


@dataclass(frozen=True)
class PageInfo:
    """What lies beyond the page."""

    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@dataclass(frozen=True)
class Listed(Generic[R]):
    """A page, how its rows become cursors, and a way to count the whole list, taken only if it is asked for."""

    page: PageOf[R]
    cursor_of: Callable[[R], str]
    count: Callable[[], Awaitable[int]]

    @property
    def nodes(self) -> Sequence[R]:
        """The rows."""
        return self.page.rows

    @property
    def edges(self) -> Sequence[Edge[R]]:
        """The rows with their cursors."""
        return [Edge(row, self.cursor_of(row)) for row in self.page.rows]

    @property
    def page_info(self) -> PageInfo:
        """What lies beyond."""
        rows = self.page.rows
        return PageInfo(
            self.page.has_next,
            self.page.has_previous,
            self.cursor_of(rows[0]) if rows else None,
            self.cursor_of(rows[-1]) if rows else None,
        )

    @property
    def total_count(self) -> Awaitable[int]:
        """How many rows the whole list has: awaited by whoever completes the field."""
        return self.count()


def listed(info: Info, read: Read[PageOf[R]], count: Read[int], cursor_of: Callable[[R], str]) -> Reading[Listed[R]]:
    """How the page of each parent is read, together with those of the other parents, and so are their counts."""
    load = info.context.loaders.load

    def of(parent_id: str, page: PageOf[R]) -> Listed[R]:
        return Listed(page, cursor_of, partial(load, count, parent_id))

    return Reading(read, of)
