"""What Strawberry knows of its fields, said to the compiled executor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

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


class _Known(NamedTuple):
    """What is known of a field with a resolver, before any operation asks for it."""

    field: GraphQLField
    """Kept, so that its identity stays its own."""
    definition: StrawberryField
    function: Callable[..., Any]
    of_root: bool | None
    """Whether the resolver wants root and info, or info alone; None where it wants anything else."""
    stages: Stages | None
    plain: Mapping[str, str]
    """The arguments whose values Strawberry hands on as they are, and what the resolver calls them."""


class StrawberryBindings(Bindings):
    """Fields without a resolver are attributes; a resolver is called without Strawberry's wrapping of it."""

    def __init__(self) -> None:
        self._known: dict[int, _Known | None] = {}

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
        known = self._of(field, info)
        if known is None or known.of_root is None:
            return None
        function = known.function
        shown, given = _given(known, arguments, info)

        def of_source(source: object) -> Any:
            return function(root=source, info=shown, **given)

        def of_nothing(_source: object) -> Any:
            return function(info=shown, **given)

        return OfSource(of_source if known.of_root else of_nothing)

    def key(self, field: GraphQLField) -> str | None:
        """The key that a keyed field is declared with."""
        definition = field.extensions.get(_DEFINITION)
        stages = stages_of(_function(definition)) if isinstance(definition, StrawberryField) else None
        return None if stages is None else stages.key

    def reading(
        self, field: GraphQLField, arguments: Mapping[str, Any], info: GraphQLResolveInfo[Any]
    ) -> Reading | None:
        """How a keyed field is read, through the loaders of the operation where others read alike."""
        known = self._of(field, info)
        if known is None or known.stages is None:
            return None
        shown, given = _given(known, arguments, info)
        read, then = known.stages.reading(shown, **given)
        return Reading(read, partial(info.context.loaders.join, read), then)

    def _of(self, field: GraphQLField, info: GraphQLResolveInfo[Any]) -> _Known | None:
        try:
            return self._known[id(field)]
        except KeyError:
            found = self._known[id(field)] = _known(field, _served(info))
            return found

    def record(self, type_: GraphQLObjectType) -> type | None:
        """The record class of our Node types, which is what their `is_type_of` looks for."""
        definition = type_.extensions.get(_DEFINITION)
        if isinstance(definition, StrawberryObjectDefinition):
            return cast("type | None", getattr(definition.origin, "record", None))
        return None


def _known(field: GraphQLField, served: strawberry.Schema) -> _Known | None:
    """What is known of a field; None where it has no resolver, or anything else is wrapped around it."""
    definition = field.extensions.get(_DEFINITION)
    if not isinstance(definition, StrawberryField) or definition.is_subscription:
        return None
    function = _function(definition)
    # An extension or a handler of exceptions may do anything around the resolver.
    if function is None or definition.extensions or served.exception_handlers:
        return None
    resolver: StrawberryResolver[Any] = cast("Any", definition).base_resolver
    asks = (resolver.self_parameter, resolver.parent_parameter, resolver.root_parameter, resolver.info_parameter)
    names = " ".join(parameter.name for parameter in asks if parameter is not None)
    of_root = {"info": False, "root info": True}.get(names)
    plain: dict[str, str] = {}
    for argument in definition.arguments:
        type_ = argument.type
        if isinstance(type_, StrawberryOptional) and not isinstance(type_, StrawberryMaybe):
            type_ = type_.of_type
        if type_ in _HANDED_ON:
            plain[served.config.name_converter.from_argument(argument)] = argument.python_name
    return _Known(field, definition, function, of_root, stages_of(function), plain)


def _given(
    known: _Known, arguments: Mapping[str, Any], info: GraphQLResolveInfo[Any]
) -> tuple[strawberry.Info[Any, Any], Mapping[str, Any]]:
    """The info and the converted arguments that Strawberry would give to a resolver."""
    served, definition, plain = _served(info), known.definition, known.plain
    info_class: Any = served.config.info_class
    shown = info_class(_raw_info=info, _field=definition)
    if arguments.keys() <= plain.keys():
        return shown, {plain[name]: value for name, value in arguments.items()}
    return shown, convert_arguments(
        dict(arguments),
        definition.arguments,
        scalar_registry=served.schema_converter.scalar_registry,
        config=served.config,
        info=shown,
    )


def _served(info: GraphQLResolveInfo[Any]) -> strawberry.Schema:
    schema: Any = info.schema
    served: strawberry.Schema = schema._strawberry_schema  # noqa: SLF001  (how Strawberry finds it)
    return served


def _function(definition: StrawberryField) -> Callable[..., Any] | None:
    """The function that a field is resolved with, if any."""
    resolver: Any = cast("Any", definition).base_resolver
    function: Callable[..., Any] | None = None if resolver is None else resolver.wrapped_func
    return function
