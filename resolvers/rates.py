"""Every mutation is counted, whichever way it came and however many an operation holds."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, TypeAlias, TypeVar

from resolvers.context import Info

T = TypeVar("T")
R = TypeVar("R")
Mutate: TypeAlias = Callable[[Info, T], Coroutine[Any, Any, R]]


def counted(result: Callable[..., R]) -> Callable[[Mutate[T, R]], Mutate[T, R]]:
    """Refuse a mutation where its person has changed too much lately. `result` makes what it returns."""

    def around(resolve: Mutate[T, R]) -> Mutate[T, R]:
        @wraps(resolve)
        async def resolve_counted(info: Info, input: T) -> R:  # noqa: A002 (the contract's name)
            refused = await info.context.services.rates.take(info.context.require_viewer())
            return await resolve(info, input) if refused is None else result(None, user_errors=(refused,))

        return resolve_counted

    return around
