"""Documents, parsed and validated once and kept: for most requests that is most of the work."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    Node,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    OperationType,
    VariableNode,
    Visitor,
    parse,
    visit,
)
from graphql import specified_rules as rules
from strawberry.schema.schema import validate_document

from compiled import Prepared
from resolvers.selection import fields
from schema.limits import Limits, page_size_variables, requested_nodes_error, static_errors

# Larger texts are one-off: keeping some hundred of them would let anybody fill the memory.
_LARGEST_KEPT_CHARACTERS = 20_000
_KEPT = 500
_KEPT_SIZES = 20


class _Variables(Visitor):
    """Finds the names of the variables that are used."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def enter_variable(self, node: VariableNode, *_: object) -> None:
        self.found.add(node.name.value)


@dataclass(eq=False)
class Operation:
    """An operation of a document, and what is found out about it once."""

    ast: DocumentNode
    node: OperationDefinitionNode
    is_valid: bool
    """Whether nothing is wrong with the document: else it is not executed."""
    sized_by: tuple[str, ...] = ()
    """The variables that its page sizes depend on."""
    is_always_ready: bool = False
    """Whether it can be executed whatever its variables are: known when it has been asked once."""
    prepared: Prepared | None = None
    nodes_errors: OrderedDict[object, GraphQLError | None] = field(
        default_factory=OrderedDict[object, "GraphQLError | None"]
    )

    def __post_init__(self) -> None:
        self.type = self.node.operation
        self.kind: str = self.type.value
        self.name = None if self.node.name is None else self.node.name.value

    @cached_property
    def asks_feed_cursor(self) -> bool:
        """Whether it is a query for where the feed stands, skipped or not."""
        fragments = {item.name.value: item for item in self._fragments}
        return self.type is OperationType.QUERY and any(
            node.name.value == "feedCursor" for node in fields([self.node.selection_set], fragments, None)
        )

    @cached_property
    def told_by(self) -> frozenset[str]:
        """The variables that what a subscription tells of an event may depend on.

        All that are used, but for those that are only arguments of its one field: they say which events come.
        """
        root = self.node.selection_set.selections
        nodes: list[Node] = [*self._fragments, *(self.node.directives or ())]
        if len(root) == 1 and isinstance(root[0], FieldNode):
            nodes += root[0].directives or ()
            nodes += () if root[0].selection_set is None else (root[0].selection_set,)
        else:
            nodes.append(self.node.selection_set)
        variables = _Variables()
        for node in nodes:
            visit(node, variables)
        return frozenset(variables.found)

    @property
    def _fragments(self) -> list[FragmentDefinitionNode]:
        return [item for item in self.ast.definitions if isinstance(item, FragmentDefinitionNode)]


def _variables_of(node: OperationDefinitionNode) -> set[str]:
    # What a client gives besides those is coerced by nobody.
    return {definition.variable.name.value for definition in node.variable_definitions or ()}


@dataclass(eq=False)
class Document:
    """A parsed document, what is wrong with it, and its operations."""

    ast: DocumentNode
    errors: list[GraphQLError]
    operations: Mapping[str | None, Operation] = field(init=False)
    """By their names; the only one without a name, too."""

    def __post_init__(self) -> None:
        sizes = page_size_variables(self.ast)
        found = [
            Operation(self.ast, item, not self.errors, tuple(sorted(sizes & _variables_of(item))))
            for item in self.ast.definitions
            if isinstance(item, OperationDefinitionNode)
        ]
        named: dict[str | None, Operation] = {item.name: item for item in reversed(found) if item.name is not None}
        self.operations = {**named, None: found[0]} if len(found) == 1 else named


@dataclass
class Documents:
    """The documents seen last. What is in use at the moment stays, whoever else is busy sending others."""

    limits: Limits
    introspection: bool = True
    kept: OrderedDict[str, Document] = field(default_factory=OrderedDict[str, Document])

    def get(self, schema: GraphQLSchema, text: str) -> Document:
        """Parse and validate a text. Raises GraphQLError where it is no GraphQL."""
        document = self.kept.get(text)
        if document is not None:
            self.kept.move_to_end(text)
            return document
        ast = parse(text, max_tokens=self.limits.tokens)
        # What is too large is not validated: some rules take quadratic time.
        applied = (*rules, *(() if self.introspection else (NoSchemaIntrospectionCustomRule,)))
        errors = static_errors(schema, ast, self.limits) or validate_document(schema, ast, applied)
        document = Document(ast, errors)
        if len(text) <= _LARGEST_KEPT_CHARACTERS:
            self.kept[text] = document
            if len(self.kept) > _KEPT:
                self.kept.popitem(last=False)
        return document

    def nodes_error(
        self, schema: GraphQLSchema, operation: Operation, variables: Mapping[str, object]
    ) -> GraphQLError | None:
        """Whether a valid operation may bring too many rows with these variables."""
        sizes: tuple[tuple[str, object, bool], ...] = ()
        if operation.sized_by:
            sizes = tuple([(name, variables.get(name), name in variables) for name in operation.sized_by])
            if not all(size is None or isinstance(size, int | float) for _, size, _ in sizes):
                return None  # the variable is refused when it is coerced
        known = operation.nodes_errors
        if sizes not in known:
            known[sizes] = requested_nodes_error(schema, operation.ast, operation.node, variables, self.limits)
            if len(known) > _KEPT_SIZES:
                known.popitem(last=False)
        return known[sizes]
