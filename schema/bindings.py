"""What Strawberry knows of its fields, said to the compiled executor."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import strawberry
from graphql import GraphQLField, GraphQLObjectType, GraphQLResolveInfo
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.arguments import convert_arguments
from strawberry.types.base import StrawberryMaybe, StrawberryObjectDefinition, StrawberryOptional
from strawberry.types.field import StrawberryField

from compiled import Bindings, OfSource, Reading
from resolvers.keyed import Stages, stages_of

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
        definition = self._shortened(field, info)
        if definition is None:
            return None
        resolver = cast("StrawberryResolver[Any]", _resolver(definition))
        function = cast("Any", resolver).wrapped_func
        shown, given = self._given(field, definition, arguments, info)
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

    def key(self, field: GraphQLField) -> str | None:
        """The key that a keyed field is declared with."""
        stages = _stages(field.extensions.get(_DEFINITION))
        return None if stages is None else stages.key

    def reading(
        self, field: GraphQLField, arguments: Mapping[str, Any], info: GraphQLResolveInfo[Any]
    ) -> Reading | None:
        """How a keyed field is read, through the loaders of the operation."""
        definition = self._shortened(field, info)
        stages = _stages(definition)
        if definition is None or stages is None:
            return None
        shown, given = self._given(field, definition, arguments, info)
        read, then = stages.reading(shown, **given)
        return Reading(partial(info.context.loaders.join, read), then)

    @staticmethod
    def _shortened(field: GraphQLField, info: GraphQLResolveInfo[Any]) -> StrawberryField | None:
        """What Strawberry knows of a field with a resolver that nothing else is wrapped around."""
        definition = field.extensions.get(_DEFINITION)
        if not isinstance(definition, StrawberryField) or definition.is_subscription:
            return None
        # An extension or a handler of exceptions may do anything around the resolver.
        wrapped = definition.extensions or _served(info).exception_handlers
        return None if wrapped or _resolver(definition) is None else definition

    def _given(
        self,
        field: GraphQLField,
        definition: StrawberryField,
        arguments: Mapping[str, Any],
        info: GraphQLResolveInfo[Any],
    ) -> tuple[strawberry.Info[Any, Any], Mapping[str, Any]]:
        """The info and the converted arguments that Strawberry would give to a resolver."""
        served = _served(info)
        converter, config = served.schema_converter, served.config
        info_class: Any = config.info_class
        shown = info_class(_raw_info=info, _field=definition)
        names_of = self._plain_arguments(field, definition, served)
        if arguments.keys() <= names_of.keys():
            return shown, {names_of[name]: value for name, value in arguments.items()}
        return shown, convert_arguments(
            dict(arguments),
            definition.arguments,
            scalar_registry=converter.scalar_registry,
            config=config,
            info=shown,
        )

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


def _served(info: GraphQLResolveInfo[Any]) -> strawberry.Schema:
    return cast("strawberry.Schema", cast("Any", info.schema)._strawberry_schema)  # noqa: SLF001


def _resolver(definition: StrawberryField) -> StrawberryResolver[Any] | None:
    found: StrawberryResolver[Any] | None = cast("Any", definition).base_resolver
    return found


def _stages(definition: object) -> Stages | None:
    resolver = _resolver(definition) if isinstance(definition, StrawberryField) else None
    return None if resolver is None else stages_of(cast("Any", resolver).wrapped_func)
