"""Large JSON values are worked on beside the event loop, so that one stranger's answer does not hold up everybody.

An answer of 2 MiB may hold a million values, and what Python does with each of them adds up to seconds. On a thread
of its own that work gives way to the loop every few milliseconds; what remains are single calls into C, none of which
takes a tenth of a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.ports import JsonValue

P = ParamSpec("P")
T = TypeVar("T")

LARGE_BYTES = 64 * 1024
"""A text of this size takes a few milliseconds at most, whatever is in it."""

_LARGE_VALUES = 4_000
_PLAIN = frozenset({int, float, bool, type(None)})
# One thread: more would only take turns, and take more of them from the loop.
_beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="large-values")


def is_large(value: JsonValue) -> bool:
    """Whether a value is too large to be worked on in between. Looks at no more than it takes to know."""
    values, characters = 0, 0
    waiting: list[JsonValue] = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            characters += len(one)
        elif type(one) in _PLAIN:
            # To ask of these whether they are mappings or sequences takes longer than to write them.
            continue
        elif isinstance(one, Mapping):
            values += len(one)
            if values <= _LARGE_VALUES:
                waiting += one.values()
                characters += sum(map(len, map(str, one)))
        elif isinstance(one, Sequence):
            values += len(one)
            if values <= _LARGE_VALUES:
                waiting += one
        if values > _LARGE_VALUES or characters > LARGE_BYTES:
            return True
    return False


async def beside_the_loop(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function on the thread for large values, in the present context."""
    call = partial(copy_context().run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_beside, call)
