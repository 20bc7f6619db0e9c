"""The variables of an operation that is executed again and again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, cast

from graphql import (
    GraphQLError,
    GraphQLNonNull,
    GraphQLSchema,
    OperationDefinitionNode,
    Undefined,
    VariableDefinitionNode,
    is_leaf_type,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import (
    VariableValues,
    VariableValueSource,
    get_variable_values,
    input_is_nested_too_deeply,  # pyright: ignore[reportUnknownVariableType]
)
from graphql.utilities import coerce_input_value  # pyright: ignore[reportUnknownVariableType]

from compiled.tuples import new_tuple

# As many as graphql-core's executor tells of.
_MOST_ERRORS = 50
# Classes of values that may be kept from one execution to the next: nobody can change them.
UNCHANGEABLE = {int, float, str, bool, type(None)}


class _Variable(NamedTuple):
    name: str
    signature: GraphQLVariableSignature
    is_required: bool
    coerce: Callable[[Any], Any]
    default: Any
    """What it is where it is not given: coerced; Undefined where it has no value then."""


# In place of a coerced value: graphql-core has to be asked.
_ASK = object()


class Variables:
    """Coerces an operation's variables, whose types are looked up once.

    What is not in order is graphql-core's: its answer is the same, and it can say what is wrong.
    """

    def __init__(self, schema: GraphQLSchema, operation: OperationDefinitionNode) -> None:
        self._schema = schema
        self._definitions = operation.variable_definitions or ()
        found = [_variable(schema, node) for node in self._definitions]
        self._known = [variable for variable in found if variable is not None]
        self._are_known = len(self._known) == len(found)

    def coerced(self, given: Mapping[str, Any]) -> VariableValues | list[GraphQLError]:
        """Coerce the values that are given, or return what is wrong with them."""
        if not self._are_known:
            return self._ordinary(given)
        sources: dict[str, VariableValueSource] = {}
        coerced: dict[str, Any] = {}
        for name, signature, is_required, coerce, default in self._known:
            value = given.get(name, Undefined)
            if value is Undefined:
                made = default
            elif value is None:
                made = _ASK if is_required else None
            else:
                try:
                    made = coerce(value)
                except Exception:  # noqa: BLE001  (graphql-core finds it again, and tells it)
                    made = _ASK
                if made is Undefined:
                    made = _ASK
            if made is _ASK:
                return self._ordinary(given)
            sources[name] = new_tuple(VariableValueSource, (signature, value))
            if made is not Undefined:
                coerced[name] = made
        values: VariableValues = new_tuple(VariableValues, (sources, coerced))
        return values

    def _ordinary(self, given: Mapping[str, Any]) -> VariableValues | list[GraphQLError]:
        return get_variable_values(self._schema, self._definitions, dict(given), _MOST_ERRORS)


def _variable(schema: GraphQLSchema, node: VariableDefinitionNode) -> _Variable | None:
    """What is known of a variable before it has a value; None where its type is not one for variables."""
    signature = get_variable_signature(schema, node)
    if isinstance(signature, GraphQLError):
        return None
    type_: Any = cast("Any", signature).type
    is_required = isinstance(type_, GraphQLNonNull)
    named: Any = cast("Any", type_).of_type if is_required else type_
    coerce = named.coerce_input_value if is_leaf_type(named) else partial(_nested, named)
    return _Variable(signature.name, signature, is_required, coerce, _default(schema, node))


def _default(schema: GraphQLSchema, node: VariableDefinitionNode) -> Any:
    """What a variable is where it is not given. What somebody could change is made anew for each execution."""
    found = get_variable_values(schema, [node], {})
    if isinstance(found, list):
        return _ASK
    value = found.coerced.get(node.variable.name.value, Undefined)
    return value if value is Undefined or value.__class__ in UNCHANGEABLE else _ASK


def _nested(type_: Any, value: Any) -> Any:
    return Undefined if input_is_nested_too_deeply(value, type_) else coerce_input_value(value, type_)
