"""What Strawberry knows of its fields, said to the compiled executor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import strawberry
from graphql import GraphQLField, GraphQLObjectType, GraphQLResolveInfo
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.arguments import convert_arguments
from strawberry.types.base import StrawberryMaybe, StrawberryObjectDefinition, StrawberryOptional
from strawberry.types.field import StrawberryField

from compiled import Bindings, OfSource

if TYPE_CHECKING:
    from strawberry.types.fields.resolver import StrawberryResolver

_HANDED_ON = (str, int, float, bool, strawberry.ID)
_DEFINITION = GraphQLCoreConverter.DEFINITION_BACKREF


class StrawberryBindings(Bindings):
    """Fields without a resolver are attributes; a resolver is called without Strawberry's wrapping of it."""

    def __init__(self) -> None:
        self._plain: dict[int, tuple[GraphQLField, Mapping[str, str]]] = {}

    def attribute(self, field: GraphQLField) -> str | None:
        """The attribute of a field without a resolver."""
        definition = field.extensions.get(_DEFINITION)
        if isinstance(definition, StrawberryField) and definition.is_basic_field:
            # Strawberry reads it with getattr; a field that something handles exceptions of has another resolver.
            plain = getattr(field.resolve, "__name__", "") == "_get_basic_result"
            return definition.python_name if plain and definition.default_resolver is getattr else None
        return None

    def call(self, field: GraphQLField, arguments: Mapping[str, Any], info: GraphQLResolveInfo[Any]) -> OfSource | None:
        """A field's own resolver with converted arguments; none of ours asks where in the answer it stands."""
        definition = field.extensions.get(_DEFINITION)
        if not isinstance(definition, StrawberryField) or definition.is_subscription:
            return None
        resolver: StrawberryResolver[Any] | None = cast("Any", definition).base_resolver
        served = cast("strawberry.Schema", cast("Any", info.schema)._strawberry_schema)  # noqa: SLF001
        # An extension or a handler of exceptions may do anything around the resolver.
        if resolver is None or definition.extensions or served.exception_handlers:
            return None
        converter, config = served.schema_converter, served.config
        info_class: Any = config.info_class
        shown = info_class(_raw_info=info, _field=definition)
        names_of = self._plain_arguments(field, definition, served)
        if arguments.keys() <= names_of.keys():
            given = {names_of[name]: value for name, value in arguments.items()}
        else:
            given = convert_arguments(
                dict(arguments),
                definition.arguments,
                scalar_registry=converter.scalar_registry,
                config=config,
                info=shown,
            )
        function = cast("Any", resolver).wrapped_func
        asks = (resolver.self_parameter, resolver.parent_parameter, resolver.root_parameter, resolver.info_parameter)
        names = tuple(None if parameter is None else parameter.name for parameter in asks)
        if names == (None, None, None, "info"):

            def of_nothing(_source: object) -> Any:
                return function(info=shown, **given)

            return OfSource(of_nothing)
        if names == (None, None, "root", "info"):

            def of_source(source: object) -> Any:
                return function(root=source, info=shown, **given)

            return OfSource(of_source)
        return None

    def _plain_arguments(
        self, field: GraphQLField, definition: StrawberryField, served: strawberry.Schema
    ) -> Mapping[str, str]:
        """The arguments whose values Strawberry hands on as they are, and what its resolver calls them."""
        known = self._plain.get(id(field))
        if known is None:
            names: dict[str, str] = {}
            for argument in definition.arguments:
                type_ = argument.type
                if isinstance(type_, StrawberryOptional) and not isinstance(type_, StrawberryMaybe):
                    type_ = type_.of_type
                if type_ in _HANDED_ON:
                    names[served.config.name_converter.from_argument(argument)] = argument.python_name
            # The field is kept beside them, so that its identity stays its own.
            known = self._plain[id(field)] = field, names
        return known[1]

    def record(self, type_: GraphQLObjectType) -> type | None:
        """The record class of our Node types, which is what their `is_type_of` looks for."""
        definition = type_.extensions.get(_DEFINITION)
        if isinstance(definition, StrawberryObjectDefinition):
            return cast("type | None", getattr(definition.origin, "record", None))
        return None
