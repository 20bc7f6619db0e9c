"""An operation that is executed again and again: what is the same in each execution is made once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from graphql import DocumentNode, GraphQLError, GraphQLSchema
from graphql.execution.values import VariableValues

from compiled.variables import Variables

if TYPE_CHECKING:
    from compiled.executor import CompiledExecutor
    from compiled.plan import Operation, Variant

_new = cast("Any", object.__new__)


class MadeWhenAsked:
    """What an executor has of its own and most executions do not ask for."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, executor: Any, owner: type | None = None) -> Any:
        if executor is None:
            return self
        made = executor.__dict__[self._name] = self._make(executor)
        return made


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
        # The rest of what an execution changes is made when it is asked for.
        executor.__dict__ = {
            **self._common,
            "root_value": root,
            "context_value": context,
            "variable_values": values,
            "calls": {},
        }
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
        self._common = {
            name: value
            for name, value in vars(built).items()
            if not isinstance(getattr(self._class, name, None), MadeWhenAsked)
        }
        return None
