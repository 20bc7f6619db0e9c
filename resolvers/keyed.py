"""Fields whose values are read by a key of their parents, for all parents at once.

Such a field is declared in two stages: which attribute of the parent is the key, and how the values of many keys are
read. Whoever executes an operation may take the stages apart, and then goes through the second one once for all
parents; called as a resolver, it does the same through a loader.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, TypeVar

from resolvers.context import Info
from resolvers.loaders import Loaded, Read

T = TypeVar("T")
P = ParamSpec("P")


class Reading(NamedTuple, Generic[T]):
    """How the values of many keys are read, and what is made of each: key and what was read → the value."""

    read: Read[Any]
    then: Callable[[str, Any], T] | None = None


@dataclass(frozen=True)
class Stages:
    """What a keyed field is made of."""

    key: str
    """The parent's attribute that has the key; where it is None, so is the field's value."""
    reading: Callable[..., Reading[Any]]
    """info and the field's arguments → how the values are read; the same for all parents."""


def keyed(key: str) -> Callable[[Callable[Concatenate[Info, P], Reading[T]]], Callable[..., Loaded[T] | None]]:
    """Make a field's resolver of what says how its values are read by this attribute of the parents."""

    def declare(reading: Callable[Concatenate[Info, P], Reading[T]]) -> Callable[..., Loaded[T] | None]:
        @wraps(reading)
        def resolve(root: object, info: Info, *given: P.args, **arguments: P.kwargs) -> Loaded[T] | None:
            value: str | None = getattr(root, key)
            if value is None:
                return None
            read, then = reading(info, *given, **arguments)
            return info.context.loaders.load(read, value, then)

        signature = inspect.signature(reading)
        root = inspect.Parameter("root", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=object)
        resolver: Any = resolve
        resolver.__signature__ = signature.replace(parameters=[root, *signature.parameters.values()])
        resolver.stages = Stages(key, reading)
        return resolve

    return declare


def stages_of(resolver: object) -> Stages | None:
    """Return the stages of a keyed field's resolver; None for any other."""
    return getattr(resolver, "stages", None)
