"""Every mutation is counted, whichever way it came and however many an operation holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, TypeAlias, TypeVar

from resolvers.context import Info

T = TypeVar("T")
R = TypeVar("R")
Mutate: TypeAlias = Callable[[Info, T], Coroutine[Any, Any, R]]


def counted(result: Callable[..., R], *, waits: bool = False) -> Callable[[Mutate[T, R]], Mutate[T, R]]:
    """Refuse a mutation where its person has changed too much lately. `result` makes what it returns.

    What is begun goes on to its end where whoever asked has left: cut off in the middle it may be committed all the
    same, without those being told who follow. What `waits` sees to that itself, for as long as it writes.
    """

    def around(resolve: Mutate[T, R]) -> Mutate[T, R]:
        async def counting(info: Info, input: T) -> R:  # noqa: A002 (the contract's name)
            refused = await info.context.services.rates.take(info.context.require_viewer())
            return await resolve(info, input) if refused is None else result(None, user_errors=(refused,))

        @wraps(resolve)
        async def to_its_end(info: Info, input: T) -> R:  # noqa: A002
            return await asyncio.shield(asyncio.ensure_future(counting(info, input)))

        return wraps(resolve)(counting) if waits else to_its_end

    return around
