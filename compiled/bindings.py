"""What a schema library can say of its fields and types that GraphQL does not know."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from graphql import GraphQLField, GraphQLObjectType, GraphQLResolveInfo

Call: TypeAlias = Callable[[Any, GraphQLResolveInfo[Any]], Any]
"""A field's resolver with its arguments in place: source and info → the value, or an awaitable of it."""


class OfSource(NamedTuple):
    """A field's resolver that wants no info of its own for each source: it makes do with that of the first one."""

    call: Callable[[Any], Any]


class Batch(Protocol):
    """The values of many keys, which are read together. Whoever joins one that is not being read yet shares it."""

    @property
    def arrival(self) -> asyncio.Future[Any]:
        """Done when the values are there; never with an exception. It is everybody's, so nobody cancels it."""
        ...

    def begin(self, *, at_once: bool) -> None:
        """Have it read: at once, or when all who are about to join have had the time to. Once is enough."""
        ...

    def found(self) -> Mapping[Any, Any]:
        """Return the values by their keys. Raises what went wrong."""
        ...


class Reading(NamedTuple):
    """How a field's values are read by the keys of its sources."""

    read: Callable[[Sequence[Any]], Awaitable[Sequence[Any]]]
    """Read what there is for each key, in their order, where nobody else is about to read alike."""
    join: Callable[[Sequence[Any]], Batch]
    """Have these keys read, along with those of all fields that read alike."""
    then: Callable[[Any, Any], Any] | None = None
    """What is made of each: key and what was read → the value. None: it is the value."""


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

    def key(self, field: GraphQLField) -> str | None:
        """The source's attribute by which the field's value is read together with those of other sources.

        It is a string or a number; a source that has none there has no value. Of anything else, and where there
        is no `reading`, the field's own resolver is asked, which has to come to the same.
        """
        del field
        return None

    def reading(
        self, field: GraphQLField, arguments: Mapping[str, Any], info: GraphQLResolveInfo[Any]
    ) -> Reading | None:
        """How the values of a field that has a `key` are read; called as `call` is, and so is what it raises."""
        del field, arguments, info
        return None

    def record(self, type_: GraphQLObjectType) -> type | None:
        """A class of which every instance (not of a subclass) is of the type, without asking `is_type_of`."""
        del type_
        return None
