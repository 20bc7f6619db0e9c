"""An operation that is executed again and again: what is the same in each execution is made once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from graphql import DocumentNode, GraphQLError, GraphQLResolveInfoHelpers, GraphQLSchema
from graphql.execution.executor import CollectedErrors
from graphql.execution.values import VariableValues
from graphql.pyutils import RefMap

from compiled.tuples import new_tuple
from compiled.variables import Variables

if TYPE_CHECKING:
    from compiled.executor import CompiledExecutor
    from compiled.plan import Operation, Variant

_new = cast("Any", object.__new__)


class Prepared:
    """Makes executors of one operation, each as `CompiledExecutor.build` would make it."""

    def __init__(
        self,
        executor_class: type[CompiledExecutor],
        schema: GraphQLSchema,
        document: DocumentNode,
        operation_name: str | None,
        is_awaitable: Callable[[Any], bool] | None,
    ) -> None:
        self._class = executor_class
        self._schema, self._document, self._name = schema, document, operation_name
        self._is_awaitable = is_awaitable
        # What all its executors have in common, and then the rest: known when the first one has been built.
        self._common: dict[str, Any] = {}
        self._variables: Variables
        self._operation: Operation
        # Where no variable decides what is executed.
        self._only_variant: Variant | None = None

    def executor(
        self, root: Any, context: Any, variables: Mapping[str, Any] | None
    ) -> list[GraphQLError] | CompiledExecutor:
        """Make an executor; what is wrong with the variables is returned instead."""
        errors = None if self._common else self._learn(variables)
        if errors is not None:
            return errors
        values = self._variables.coerced(variables or {})
        if type(values) is list:
            return values
        executor: CompiledExecutor = _new(self._class)
        # All that an execution changes is its own: see what the constructor of graphql-core's executor makes.
        executor.__dict__ = {
            **self._common,
            "root_value": root,
            "context_value": context,
            "variable_values": values,
            "collected_errors": CollectedErrors(),
            "pending_incremental_futures": set(),
            "background_futures": set(),
            "_relevant_sub_fields": {},
            "_stream_usages": RefMap(),
            "calls": {},
        }
        helpers = (executor.gather_async_work, executor.track_async_work)
        executor.async_helpers = new_tuple(GraphQLResolveInfoHelpers, helpers)
        executor.variant = self._only_variant or self._operation.variant(executor)
        return executor

    def _learn(self, variables: Mapping[str, Any] | None) -> list[GraphQLError] | None:
        """Build an executor in the ordinary way; of what it was given, nothing is kept."""
        built = self._class.build(
            self._schema,
            self._document,
            raw_variable_values=variables,
            operation_name=self._name,
            is_awaitable=self._is_awaitable,
        )
        if isinstance(built, list):
            return built
        self._variables = Variables(self._schema, built.operation)
        self._operation = self._class.plans.operation(built, self._document)
        if not self._operation.conditions:
            self._only_variant = built.variant
        built.variable_values = VariableValues({}, {})
        built.async_helpers = cast("Any", None)
        self._common = vars(built)
        return None
