"""Lists in pages, after Relay's Cursor Connections; `nodes` spares the edges where nobody wants cursors."""

from __future__ import annotations

from typing import Generic, TypeVar

import strawberry

from schema.field import field

T = TypeVar("T")


@strawberry.type(description="What lies beyond a page. Cursors stay valid while rows are inserted.")
class PageInfo:
    has_next_page: bool = field("Whether there is more after it.")
    has_previous_page: bool = field("Whether there is more before it.")
    start_cursor: str | None = field("The first row's cursor; null where there is none.")
    end_cursor: str | None = field("The last row's cursor; null where there is none.")


@strawberry.type(description="A row and its place in the list.")
class Edge(Generic[T]):
    node: T = field("The row.")
    cursor: str = field("Its place: opaque; pass it as `after` or `before`.")


@strawberry.type(description="One page of a list: `first` or `last` rows of it, 20 unless told, at most 100.")
class Connection(Generic[T]):
    edges: list[Edge[T]] = field("The rows with their cursors.")
    nodes: list[T] = field("The rows.")
    page_info: PageInfo = field("What lies beyond the page.")
    total_count: int = field("How many rows the whole list has; counted only where asked for.")
