"""Counting calls of functions, Python's and C's: what work costs, without a clock."""

from __future__ import annotations

import asyncio.base_events
import asyncio.selector_events
import selectors
import sys
from types import FrameType
from typing import Self

# How often the loop turns is up to what else the machine does; the service's own loop has no Python in it.
_LOOP = frozenset(
    module.__file__
    for module in (asyncio.base_events, asyncio.events, asyncio.selector_events, asyncio.transports, selectors)
)


class Calls:
    """How many calls are made while the context is open, in this thread, but for those of the event loop itself."""

    def __init__(self) -> None:
        self.counted = 0

    def __enter__(self) -> Self:
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _count(self, frame: FrameType, event: str, _argument: object) -> None:
        self.counted += event in {"call", "c_call"} and frame.f_code.co_filename not in _LOOP
