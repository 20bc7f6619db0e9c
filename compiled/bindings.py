"""What a schema library can say of its fields and types that GraphQL does not know."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from graphql import GraphQLField, GraphQLObjectType, GraphQLResolveInfo

Call: TypeAlias = Callable[[Any, GraphQLResolveInfo[Any]], Any]
"""A field's resolver with its arguments in place: source and info → the value, or an awaitable of it."""


class OfSource(NamedTuple):
    """A field's resolver that wants no info of its own for each source: it makes do with that of the first one."""

    call: Callable[[Any], Any]


class Joint(Protocol):
    """An awaitable whose value arrives together with those of others, as a loader's do.

    Whatever a resolver returns that has an `arrival` is taken for one: all that wait for the same arrival are woken
    once, and then asked for their values. The future is everybody's, so nobody cancels it.
    """

    @property
    def arrival(self) -> asyncio.Future[Any]:
        """Done when the value is there; never with an exception."""
        ...

    def value(self) -> Any:
        """Return the value. Raises what went wrong."""
        ...


class Bindings:
    """Says nothing, which is always right: every field is then resolved as graphql-core does. Subclass it."""

    def attribute(self, field: GraphQLField) -> str | None:
        """The source's attribute that the field reads and does nothing else with; None where it is not as simple."""
        del field
        return None

    def call(
        self, field: GraphQLField, arguments: Mapping[str, Any], info: GraphQLResolveInfo[Any]
    ) -> Call | OfSource | None:
        """A shorter way to the resolver, for coerced arguments that stay the same for the whole operation.

        Called once for a field of an operation, with the info of the first source. None: there is none. What it
        raises is as if nothing had been said: the field is resolved without it and may raise the same.
        """
        del field, arguments, info
        return None

    def record(self, type_: GraphQLObjectType) -> type | None:
        """A class of which every instance (not of a subclass) is of the type, without asking `is_type_of`."""
        del type_
        return None
