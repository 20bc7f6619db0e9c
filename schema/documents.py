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


@dataclass
class Document:
    """A parsed document and what is wrong with it."""

    ast: DocumentNode
    errors: list[GraphQLError]
    sized_by: frozenset[str] = frozenset()
    asked: dict[tuple[int, str], bool] = field(default_factory=dict[tuple[int, str], bool])
    telling: dict[int, frozenset[str]] = field(default_factory=dict[int, frozenset[str]])
    nodes_errors: OrderedDict[object, GraphQLError | None] = field(
        default_factory=OrderedDict[object, "GraphQLError | None"]
    )

    def asks(self, operation: OperationDefinitionNode, name: str) -> bool:
        """Whether a query has this field at its root, skipped or not."""
        key = (id(operation), name)
        if key not in self.asked:
            fragments = {
                item.name.value: item for item in self.ast.definitions if isinstance(item, FragmentDefinitionNode)
            }
            found = fields([operation.selection_set], fragments, None)
            self.asked[key] = operation.operation is OperationType.QUERY and any(
                node.name.value == name for node in found
            )
        return self.asked[key]

    def told_by(self, operation: OperationDefinitionNode) -> frozenset[str]:
        """The variables that what a subscription tells of an event may depend on.

        All that are used, but for those that are only arguments of its one field: they say which events come.
        """
        if id(operation) not in self.telling:
            root = operation.selection_set.selections
            nodes: list[Node] = [item for item in self.ast.definitions if isinstance(item, FragmentDefinitionNode)]
            nodes += operation.directives or ()
            if len(root) == 1 and isinstance(root[0], FieldNode):
                nodes += root[0].directives or ()
                nodes += () if root[0].selection_set is None else (root[0].selection_set,)
            else:
                nodes.append(operation.selection_set)
            variables = _Variables()
            for node in nodes:
                visit(node, variables)
            self.telling[id(operation)] = frozenset(variables.found)
        return self.telling[id(operation)]

    @cached_property
    def _operations(self) -> Mapping[str | None, OperationDefinitionNode]:
        found = [item for item in self.ast.definitions if isinstance(item, OperationDefinitionNode)]
        named: dict[str | None, OperationDefinitionNode] = {
            item.name.value: item for item in reversed(found) if item.name is not None
        }
        return {**named, None: found[0]} if len(found) == 1 else named

    def operation(self, name: str | None) -> OperationDefinitionNode | None:
        """The operation of that name, or the only one."""
        return self._operations.get(name)


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
        document = Document(ast, errors, page_size_variables(ast))
        if len(text) <= _LARGEST_KEPT_CHARACTERS:
            self.kept[text] = document
            if len(self.kept) > _KEPT:
                self.kept.popitem(last=False)
        return document

    def nodes_error(
        self, schema: GraphQLSchema, document: Document, operation_name: str | None, variables: Mapping[str, object]
    ) -> GraphQLError | None:
        """Whether a valid document's operation may bring too many rows with these variables."""
        sizes = [(name, variables.get(name)) for name in sorted(document.sized_by)] if document.sized_by else []
        if not all(size is None or isinstance(size, int) for _, size in sizes):
            return None  # the variable is refused when it is coerced
        key = (operation_name, tuple((name, size, name in variables) for name, size in sizes))
        if key not in document.nodes_errors:
            operation = document.operation(operation_name)
            error = requested_nodes_error(schema, document.ast, operation, variables, self.limits)
            document.nodes_errors[key] = error
            if len(document.nodes_errors) > _KEPT_SIZES:
                document.nodes_errors.popitem(last=False)
        return document.nodes_errors[key]
