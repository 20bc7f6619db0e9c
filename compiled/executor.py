"""graphql-core's executor, with the selection sets compiled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLObjectType,
    GraphQLResolveInfoHelpers,
    GraphQLSchema,
    OperationType,
)
from graphql.execution import Executor
from graphql.execution.executor import CollectedErrors
from graphql.pyutils import RefMap

from compiled.bindings import Bindings, Call, OfSource, Reading
from compiled.fields import FieldPlan
from compiled.flight import Flight
from compiled.plan import Plans, Variant
from compiled.prepared import MadeWhenAsked, Prepared
from compiled.tuples import new_tuple


class CompiledExecutor(Executor[Any]):
    """Executes what is compiled by that, and the rest as it always was. Make one with `compiled_executor`."""

    # What the constructor of graphql-core's executor makes, and an execution may change.
    collected_errors: Any = MadeWhenAsked(lambda _: CollectedErrors())
    pending_incremental_futures: Any = MadeWhenAsked(lambda _: set[Any]())
    background_futures: Any = MadeWhenAsked(lambda _: set[Any]())
    _relevant_sub_fields: Any = MadeWhenAsked(lambda _: dict[Any, Any]())
    _stream_usages: Any = MadeWhenAsked(lambda _: RefMap[Any, Any]())
    async_helpers: Any = MadeWhenAsked(
        lambda executor: new_tuple(GraphQLResolveInfoHelpers, (executor.gather_async_work, executor.track_async_work))
    )

    plans: Plans

    variant: Variant | None = None
    calls: dict[FieldPlan, Call | OfSource | Reading | bool]
    """How each field is resolved in this execution: its resolver with the arguments in place, or how it is read."""

    @classmethod
    def build(
        cls, schema: GraphQLSchema, document: DocumentNode, *arguments: Any, **keywords: Any
    ) -> list[GraphQLError] | CompiledExecutor:
        """Build an executor; what an unvalidated request gets wrong is returned instead."""
        # Strawberry's operation extensions are for executors of its own.
        keywords.pop("operation_extensions", None)
        executor = cast("Any", super()).build(schema, document, *arguments, **keywords)
        if isinstance(executor, cls):
            executor.calls = {}
            executor.variant = cls.plans.of(executor, document)
        found: list[GraphQLError] | CompiledExecutor = executor
        return found

    @classmethod
    def prepare(
        cls,
        schema: GraphQLSchema,
        document: DocumentNode,
        operation_name: str | None = None,
        is_awaitable: Callable[[Any], bool] | None = None,
    ) -> Prepared:
        """Prepare an operation that is executed again and again, of a document that is valid and kept."""
        return Prepared(cls, schema, document, operation_name, is_awaitable)

    def execute_operation(self, serially: bool | None = None) -> Any:  # noqa: FBT001  (graphql-core's)
        """Execute a query without collecting its fields again; anything else as graphql-core does."""
        variant = self.variant
        if variant is None or serially or self.hooks is not None or self.operation.operation is not OperationType.QUERY:
            return super().execute_operation(serially)
        try:
            answer = Flight(self, whole=True).run(variant.root, self.root_value, None)
        except GraphQLError as error:
            self.collected_errors.add(error, None)
            return self.build_response(None)
        return self.build_response(answer) if answer.__class__ is dict else self._awaited(answer)

    async def _awaited(self, answer: Awaitable[dict[str, Any]]) -> Any:
        try:
            data = await answer
        except GraphQLError as error:
            self.collected_errors.add(error, None)
            return self.build_response(None)
        return self.build_response(data)

    def execute_collected_root_fields(
        self,
        root_type: GraphQLObjectType,
        root_value: Any,
        grouped_field_set: Any,
        serially: bool,  # noqa: FBT001  (graphql-core's)
        new_defer_usages: Any,
    ) -> Any:
        """Execute the operation's own selection set."""
        variant = self.variant
        if variant is None:
            return super().execute_collected_root_fields(
                root_type, root_value, grouped_field_set, serially, new_defer_usages
            )
        if serially:
            # One after the other, as graphql-core has it; with nodes that are known here, so what is below is compiled.
            return super().execute_collected_root_fields(
                root_type, root_value, variant.root_fields, serially, new_defer_usages
            )
        return Flight(self, whole=True).run(variant.root, root_value, None)

    def collect_and_execute_subfields(
        self, return_type: GraphQLObjectType, field_details_list: Any, path: Any, result: Any, position_context: Any
    ) -> Any:
        """Execute a selection set that graphql-core came to by a field of its own."""
        variant = self.variant
        if variant is None or return_type.name.startswith("__") or not variant.knows(field_details_list):
            return super().collect_and_execute_subfields(
                return_type, field_details_list, path, result, position_context
            )
        return Flight(self).run(variant.selection(return_type, field_details_list), result, path)

    def build_response(self, data: dict[str, Any] | None) -> Any:
        """Return the answer, and let go of what knows the executor: nothing is left for a search for cycles to find."""
        if self.variant is None or self.hooks is not None:
            return super().build_response(data)
        own = self.__dict__
        own["calls"] = {}
        own.pop("async_helpers", None)
        return ExecutionResult(data, (self.collected_errors.errors or None) if "collected_errors" in own else None)


def compiled_executor(bindings: Bindings | None = None) -> type[CompiledExecutor]:
    """Make an executor class, to be given to graphql-core's `execute` and `subscribe`, or to Strawberry.

    Each has its own compiled operations; bindings speak of one schema library, so one class serves all its schemas.
    """
    return type("CompiledExecutor", (CompiledExecutor,), {"plans": Plans(bindings or Bindings())})
