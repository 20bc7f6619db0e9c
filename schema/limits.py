"""How much one operation may ask for.

Every number is taken through fragments: a fragment is measured once and counts at each place where it is spread, so
nothing is gained by hiding in one, and measuring stays linear in the size of the document.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from typing import TypeAlias, cast

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
)

from services.cursors import DEFAULT_PAGE, LARGEST_PAGE

TOO_COMPLEX = "TOO_COMPLEX"


@dataclass(frozen=True)
class Limits:
    """The largest that is answered.

    The standard introspection query is 15 levels deep. Repeats are fields of the same response name side by side:
    telling whether they can be merged takes time by their square, 0.8 s for 480 of them.
    """

    depth: int = 12
    introspection_depth: int = 20
    aliases: int = 15
    repeats: int = 50
    tokens: int = 2_000
    nodes: int = 10_000


class TooComplexError(GraphQLError):
    """The document asks for too much."""

    def __init__(self, message: str, node: OperationDefinitionNode | None = None) -> None:
        super().__init__(message, node, extensions={"code": TOO_COMPLEX})


@dataclass(frozen=True)
class Cost:
    """What a selection asks for: levels of fields, aliases, repeats, and rows of connections at most.

    `names` counts the response names that stand side by side.
    """

    depth: int = 0
    introspection_depth: int = 0
    aliases: int = 0
    nodes: int = 0
    repeats: int = 0
    names: Counter[str] = field(default_factory=Counter[str])

    def beside(self, other: Cost) -> Cost:
        """Add what is selected beside it."""
        return Cost(
            max(self.depth, other.depth),
            max(self.introspection_depth, other.introspection_depth),
            self.aliases + other.aliases,
            self.nodes + other.nodes,
            max(self.repeats, other.repeats),
            self.names + other.names,
        )


PageSize: TypeAlias = Callable[[ValueNode], int]


def static_errors(schema: GraphQLSchema, document: DocumentNode, limits: Limits) -> list[GraphQLError]:
    """What is too much whatever the variables are; for each operation of the document."""
    errors: list[GraphQLError] = []
    try:
        costs = list(_costs(schema, document, lambda _: 0))
    except RecursionError:
        return [TooComplexError("The document is nested too deeply.")]
    for operation, cost in costs:
        for found, largest, what in (
            (cost.depth, limits.depth, "is {} levels deep"),
            (cost.introspection_depth, limits.introspection_depth, "is {} levels of introspection deep"),
            (cost.aliases, limits.aliases, "has {} aliases"),
            (max(cost.repeats, *cost.names.values(), 0), limits.repeats, "has one field {} times side by side"),
        ):
            if found > largest:
                message = f"The operation {what.format(_shown(found))}; at most {largest} are answered."
                errors.append(TooComplexError(message, operation))
    return errors


def requested_nodes_error(
    schema: GraphQLSchema,
    document: DocumentNode,
    chosen: OperationDefinitionNode | None,
    variables: Mapping[str, object],
    limits: Limits,
) -> GraphQLError | None:
    """Whether the operation's connections may bring too many rows with these variables, as they came."""

    def page_size(value: ValueNode) -> int:
        if isinstance(value, IntValueNode):
            return _row_count(int(value.value))
        if isinstance(value, VariableNode) and chosen is not None:
            name = value.name.value
            if name in variables:
                return _row_count(variables[name])
            for definition in chosen.variable_definitions or ():
                if definition.variable.name.value == name and isinstance(definition.default_value, IntValueNode):
                    return _row_count(int(definition.default_value.value))
        return DEFAULT_PAGE

    for operation, cost in _costs(schema, document, page_size):
        if operation is chosen and cost.nodes > limits.nodes:
            message = (
                f"The operation may bring {_shown(cost.nodes)} rows; at most {limits.nodes} are answered."
                " Ask for smaller pages."
            )
            return TooComplexError(message, operation)
    return None


def page_size_variables(document: DocumentNode) -> frozenset[str]:
    """The variables that page sizes depend on."""
    found: set[str] = set()
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode | FragmentDefinitionNode):
            for node in _descendants(definition.selection_set):
                for argument in (node.arguments or ()) if isinstance(node, FieldNode) else ():
                    if argument.name.value in _SIZES and isinstance(argument.value, VariableNode):
                        found.add(argument.value.name.value)
    return frozenset(found)


# --------------------------------------------------------------------------------------------------- measuring

_SIZES = ("first", "last")


def _row_count(value: object) -> int:
    """A page has the default size where none, or none that makes sense, is given; one too large is refused later."""
    # A variable may have come as 100.0, which an Int takes for 100.
    return int(min(max(0, value), LARGEST_PAGE)) if isinstance(value, int | float) else DEFAULT_PAGE


def _shown(number: int) -> str:
    return str(number) if number < 10**9 else "more than 10⁹"  # doubling fragments make numbers of hundreds of digits


def _costs(
    schema: GraphQLSchema, document: DocumentNode, page_size: PageSize
) -> Iterator[tuple[OperationDefinitionNode, Cost]]:
    """Measure each operation. A document whose fragments form a cycle is left to validation, which refuses it."""
    definitions = document.definitions
    fragments = {item.name.value: item for item in definitions if isinstance(item, FragmentDefinitionNode)}
    spreads = {name: _spreads(item.selection_set) & fragments.keys() for name, item in fragments.items()}
    try:
        # Innermost first, so that a fragment's own are known: a long chain of them takes no deep recursion.
        order = list(TopologicalSorter(spreads).static_order())
    except CycleError:
        return
    known: dict[str, Cost] = {}
    measure = _Measure(page_size, schema, known)
    for name in order:
        fragment = fragments[name]
        parent = schema.get_type(fragment.type_condition.name.value)
        known[name] = measure.selection(fragment.selection_set, parent)
    for item in definitions:
        if isinstance(item, OperationDefinitionNode):
            yield item, measure.selection(item.selection_set, schema.get_root_type(item.operation))


@dataclass(frozen=True)
class _Measure:
    page_size: PageSize
    schema: GraphQLSchema
    fragments: Mapping[str, Cost]

    def selection(self, chosen: SelectionSetNode, parent: GraphQLNamedType | None) -> Cost:
        cost = Cost()
        for node in chosen.selections:
            if isinstance(node, FieldNode):
                cost = cost.beside(self.field(node, parent))
            elif isinstance(node, InlineFragmentNode):
                condition = node.type_condition
                inner = parent if condition is None else self.schema.get_type(condition.name.value)
                cost = cost.beside(self.selection(node.selection_set, inner))
            elif isinstance(node, FragmentSpreadNode):
                cost = cost.beside(self.fragments.get(node.name.value, Cost()))
        return cost

    def field(self, node: FieldNode, parent: GraphQLNamedType | None) -> Cost:
        type_ = _type_of(node, parent)
        inner = Cost() if node.selection_set is None else self.selection(node.selection_set, type_)
        own = Cost(
            depth=inner.depth + 1,
            introspection_depth=inner.introspection_depth,
            aliases=inner.aliases + (node.alias is not None),
            nodes=inner.nodes,
            repeats=max(inner.repeats, *inner.names.values(), 0),
            names=Counter([(node.alias or node.name).value]),
        )
        if node.name.value in {"__schema", "__type"}:
            return replace(own, depth=1, introspection_depth=max(inner.depth, inner.introspection_depth) + 1)
        if type_ is not None and type_.name.endswith("Connection"):
            sizes = [item.value for item in node.arguments or () if item.name.value in _SIZES]
            rows = max((self.page_size(size) for size in sizes), default=DEFAULT_PAGE)
            return replace(own, nodes=rows + rows * inner.nodes)
        return own


def _type_of(node: FieldNode, parent: GraphQLNamedType | None) -> GraphQLNamedType | None:
    if not isinstance(parent, GraphQLObjectType | GraphQLInterfaceType):
        return None
    definition = parent.fields.get(node.name.value)
    return None if definition is None else cast("GraphQLNamedType", get_named_type(definition.type))


def _spreads(chosen: SelectionSetNode) -> set[str]:
    return {node.name.value for node in _descendants(chosen) if isinstance(node, FragmentSpreadNode)}


def _descendants(chosen: SelectionSetNode) -> Iterator[FieldNode | FragmentSpreadNode | InlineFragmentNode]:
    """Every selection at any level, without following spreads."""
    waiting: list[Iterable[object]] = [chosen.selections]
    while waiting:
        for node in waiting.pop():
            if isinstance(node, FieldNode | FragmentSpreadNode | InlineFragmentNode):
                yield node
                inner = None if isinstance(node, FragmentSpreadNode) else node.selection_set
                if inner is not None:
                    waiting.append(inner.selections)
