"""What was compiled of the operations seen last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    Node,
    OperationDefinitionNode,
    VariableNode,
)
from graphql.execution.collect_fields import FieldDetails, collect_fields, collect_subfields
from graphql.execution.values import VariableValues, get_argument_values
from graphql.language import DirectiveNode

from compiled.bindings import Bindings, Call, OfSource, Reading
from compiled.fields import FieldPlan, Run, RunItems, Suffix
from compiled.selection import compile_loop, compile_selection
from compiled.variables import UNCHANGEABLE

_KEPT_OPERATIONS = 500
# Of one operation, by the values of the variables that its @skip and @include read: for each a way to execute it.
_KEPT_VARIANTS = 16
_CONDITIONS = {"skip", "include"}
# Directives that change how an operation is executed in ways that are not compiled.
_NOT_COMPILED = {"defer", "stream", "experimental_disableErrorPropagation"}

_PLAIN_LITERALS = {"int_value", "float_value", "string_value", "boolean_value", "null_value"}


class Variant:
    """An operation under one set of conditions. Selection sets are compiled as execution first gets to them."""

    def __init__(self, executor: Any, bindings: Bindings, conditions: Mapping[str, bool]) -> None:
        self.bindings = bindings
        self.schema: GraphQLSchema = executor.schema
        self._fragments = executor.fragments
        self._operation: OperationDefinitionNode = executor.operation
        # Only of conditions, which are the same in each execution of the variant: the others may be large, or secret.
        self._variables = VariableValues({}, dict(conditions))
        self._collected: dict[tuple[str, int], dict[str, list[FieldDetails]]] = {}
        self._runs: dict[tuple[str, int, Suffix], Run] = {}
        self._records: dict[str, type | None] = {}
        # Lists of nodes stand for places in the document by their identity, so they are kept for as long.
        self._known: dict[int, list[FieldDetails]] = {}
        root = executor.schema.get_root_type(self._operation.operation)
        self.root_fields = collect_fields(self.schema, self._fragments, self._variables, root, self._operation)[0]
        self._know(self.root_fields)
        self._root = root

    @cached_property
    def root(self) -> Run:
        """The operation's own selection set."""
        return compile_selection(self, self._root, self.root_fields, ())

    def _know(self, grouped: Mapping[str, list[FieldDetails]]) -> None:
        self._known.update((id(details), details) for details in grouped.values())

    def knows(self, details: list[FieldDetails]) -> bool:
        """Whether a list of nodes is one of this variant's, and not one that graphql-core collected."""
        return self._known.get(id(details)) is details

    def collect(self, type_: GraphQLObjectType, details: list[FieldDetails]) -> dict[str, list[FieldDetails]]:
        """Return the fields that are selected on a type at a place in the document."""
        key = (type_.name, id(details))
        found = self._collected.get(key)
        if found is None:
            found = collect_subfields(
                self.schema, self._fragments, self._variables, self._operation, type_, details
            ).grouped_field_set
            self._collected[key] = found
            self._know(found)
        return found

    def selection(self, type_: GraphQLObjectType, details: list[FieldDetails], suffix: Suffix = ()) -> Run:
        """Return the function of what is selected on a type at a place in the document.

        The suffix leads from the path that the function is given to the object whose selection it is.
        """
        key = (type_.name, id(details), suffix)
        run = self._runs.get(key)
        if run is None:
            run = self._runs[key] = compile_selection(self, type_, self.collect(type_, details), suffix)
        return run

    def loop(self, type_: GraphQLObjectType, details: list[FieldDetails]) -> RunItems:
        """Return the function of what is selected on the items of a list, whose field is at a place in the document."""
        return compile_loop(self, type_, self.collect(type_, details))

    def record(self, type_: GraphQLObjectType) -> type | None:
        """Return the class whose instances are of the type, where the bindings know one."""
        if type_.name not in self._records:
            self._records[type_.name] = self.bindings.record(type_)
        return self._records[type_.name]

    def call(self, executor: Any, field: FieldPlan, info: GraphQLResolveInfo[Any]) -> Call | OfSource | bool:
        """Return how to resolve a field in this execution; False: only graphql-core can, or tell what is wrong."""
        try:
            arguments = self._arguments(executor, field)
            found = self.bindings.call(field.definition, arguments, info)
        except Exception:  # noqa: BLE001  (it is raised again for each source, where it becomes the field's error)
            return False
        if found is not None:
            return found
        resolve: Any = field.definition.resolve or executor.field_resolver
        if not arguments:
            return resolve  # type: ignore[no-any-return]
        return lambda source, info: resolve(source, info, **arguments)

    def reading(self, executor: Any, field: FieldPlan, info: GraphQLResolveInfo[Any]) -> Reading | bool:
        """Return how a field's values are read in this execution; False: its resolver has to be asked."""
        try:
            return self.bindings.reading(field.definition, self._arguments(executor, field), info) or False
        except Exception:  # noqa: BLE001  (as in `call`)
            return False

    @staticmethod
    def _arguments(executor: Any, field: FieldPlan) -> Mapping[str, Any]:
        """The coerced arguments of a field; what is written in the document is kept, where nobody can change it."""
        if field.constants is not None:
            if not field.variables:
                return field.constants
            coerced = executor.variable_values.coerced
            values = {name: coerced.get(variable) for name, variable in field.variables}
            # A variable that has no value, or null, is for graphql-core to make something of.
            if None not in values.values():
                return {**field.constants, **values}
        node = field.nodes[0]
        found = get_argument_values(field.definition, node, executor.variable_values, None, executor.hide_suggestions)
        if field.constants is None:
            _keep_arguments(field, node, found)
        return found


def _keep_arguments(field: FieldPlan, node: FieldNode, found: Mapping[str, Any]) -> None:
    """Keep what is the same in each execution of a field's coerced arguments, where that is plain to see."""
    variables: list[tuple[str, str]] = []
    for item in node.arguments or ():
        if isinstance(item.value, VariableNode):
            name = item.name.value
            variables.append((field.definition.args[name].out_name or name, item.value.name.value))
        elif item.value.kind not in _PLAIN_LITERALS:
            return
    names = {name for name, _ in variables}
    constants = {name: value for name, value in found.items() if name not in names}
    if all(value.__class__ in UNCHANGEABLE for value in constants.values()):
        field.constants, field.variables = constants, variables


class Operation:
    """One operation of a document."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, bindings: Bindings) -> None:
        self.schema = schema
        self.document = document
        self._bindings = bindings
        self.conditions: tuple[str, ...] = ()
        self.compiles = True
        conditions: set[str] = set()
        for node in _walk(document):
            if isinstance(node, FragmentDefinitionNode) and node.variable_definitions:
                self.compiles = False
            if isinstance(node, DirectiveNode):
                name = node.name.value
                if name in _NOT_COMPILED:
                    self.compiles = False
                elif name in _CONDITIONS:
                    values = [argument.value for argument in node.arguments or ()]
                    conditions.update(value.name.value for value in values if isinstance(value, VariableNode))
        self.conditions = tuple(sorted(conditions))
        self.variants: OrderedDict[tuple[bool, ...], Variant] = OrderedDict()

    def variant(self, executor: Any) -> Variant | None:
        """Return how to execute it with an executor's variables; None where graphql-core has to."""
        if not self.compiles:
            return None
        coerced = executor.variable_values.coerced
        conditions = tuple([coerced.get(name) for name in self.conditions])
        if not all(value is True or value is False for value in conditions):
            return None
        variant = self.variants.get(conditions)
        if variant is None:
            try:
                variant = Variant(executor, self._bindings, dict(zip(self.conditions, conditions, strict=True)))
            except (GraphQLError, RecursionError):
                return None  # told where graphql-core collects the same fields
            self.variants[conditions] = variant
            if len(self.variants) > _KEPT_VARIANTS:
                self.variants.popitem(last=False)
        return variant


class Plans:
    """The operations seen last.

    An operation is known by the identity of its document, which is kept along with it: whoever parses a text anew
    for each request has each compiled anew, and whoever keeps documents has each compiled once.
    """

    def __init__(self, bindings: Bindings, kept: int = _KEPT_OPERATIONS) -> None:
        self._bindings = bindings
        self._kept = kept
        self._operations: OrderedDict[tuple[int, int, int], Operation] = OrderedDict()

    def of(self, executor: Any, document: DocumentNode) -> Variant | None:
        """Return how to execute an operation; None where graphql-core has to."""
        if executor.abort_signal is not None or not executor.error_propagation:
            return None
        if executor.middleware_manager is not None and executor.middleware_manager.middlewares:
            return None
        return self.operation(executor, document).variant(executor)

    def operation(self, executor: Any, document: DocumentNode) -> Operation:
        """Return what is known of an executor's operation."""
        key = (id(executor.schema), id(document), id(executor.operation))
        operation = self._operations.get(key)
        if operation is not None:
            self._operations.move_to_end(key)
            return operation
        operation = self._operations[key] = Operation(executor.schema, document, self._bindings)
        if len(self._operations) > self._kept:
            self._operations.popitem(last=False)
        return operation


def _walk(node: Node) -> Iterator[Node]:
    """The nodes of a document, without those of values, which hold no directives."""
    waiting: list[Any] = [node]
    while waiting:
        item = waiting.pop()
        yield item
        for name in ("definitions", "selections", "directives"):
            waiting.extend(getattr(item, name, None) or ())
        inner = getattr(item, "selection_set", None)
        if inner is not None:
            waiting.append(inner)
