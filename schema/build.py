"""The schema, built."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from typing import Any, cast
from weakref import WeakValueDictionary

import strawberry
from graphql import ExecutionResult as GraphQLResult
from graphql import (
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    OperationType,
    Undefined,
    execution,
)
from strawberry.execution import optimized_is_awaitable
from strawberry.extensions import SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.types.execution import ExecutionContext, ExecutionResult, PreExecutionError
from strawberry.types.graphql import OperationType as Allowed

from compiled import CompiledExecutor, compiled_executor
from resolvers.context import Context
from schema import enums
from schema.bindings import StrawberryBindings
from schema.documents import Document, Documents, Operation
from schema.errors import BAD_REQUEST, shown
from schema.limits import Limits
from schema.nodes import Validation
from schema.roots import Mutation, Query, Subscription
from schema.scalars import SCALARS
from schema.sharing import Answers, Known, Told, variables_of
from services.trace import current_trace_id, new_trace_id

_ALLOWED = {type_: Allowed(type_.value) for type_ in OperationType}
# Arguments are parameters of resolvers, which say nothing of what they mean.
_ARGUMENTS = {
    "id": "Its id.",
    "jobId": "The job's id.",
    "first": "This many from the beginning, 1 to 100; not together with `last`.",
    "after": "Only what comes after this cursor.",
    "last": "This many from the end, 1 to 100.",
    "before": "Only what comes before this cursor.",
    "filter": "Only what meets this.",
    "orderBy": "In which order.",
    "input": "What to do.",
}


class Schema(strawberry.Schema):
    """The served schema. Runs on `resolvers.context.Context`."""

    executor_class: type[CompiledExecutor] | None
    """What executes compiled operations; None where that is off."""
    documents: Documents
    suggests: bool
    known: Known

    async def execute(
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any | None = None,
        root_value: Any | None = None,
        operation_name: str | None = None,
        allowed_operation_types: Iterable[Allowed] | None = None,
        operation_extensions: dict[str, Any] | None = None,
    ) -> ExecutionResult:
        """Execute an operation.

        Of Strawberry's way, what every operation goes through that is in order is done here in as many words;
        whatever is not, is told there.
        """
        operation = self.find(query or "", operation_name)
        if (
            operation is None
            or operation.type is OperationType.SUBSCRIPTION
            or (allowed_operation_types is not None and _ALLOWED[operation.type] not in allowed_operation_types)
            or not self.is_ready(operation, variable_values)
        ):
            return await super().execute(
                query,
                variable_values,
                context_value,
                root_value,
                operation_name,
                allowed_operation_types,
                operation_extensions,
            )
        if isinstance(context_value, Context):
            context_value = context_value.for_operation()
        return await self.run(operation, variable_values, context_value, root_value)

    async def run(
        self, operation: Operation, variables: Mapping[str, Any] | None, context: Any, root: Any = None
    ) -> ExecutionResult:
        """Execute a query or mutation that is ready, with a context of its own."""
        if current_trace_id.get() is None:
            begin_trace()
        if operation.asks_feed_cursor and isinstance(context, Context):
            await read_feed_cursor(context)
        result: Any
        try:
            executor = self._executor(operation, variables, context, root)
            if executor.__class__ is list:
                result = GraphQLResult(None, executor)
            else:
                result = executor.execute_operation()
                if result.__class__ is not GraphQLResult:
                    result = await result
        except Exception as error:  # noqa: BLE001  (a bug, which is told as one)
            result = GraphQLResult(None, [GraphQLError(str(error), original_error=error)])
        if result.errors:
            self.process_errors(result.errors)
        return ExecutionResult(data=result.data, errors=result.errors)

    async def stream(
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any | None = None,
        root_value: Any | None = None,
        operation_name: str | None = None,
        operation_extensions: dict[str, Any] | None = None,
        allowed_operation_types: Iterable[Allowed] | None = None,
    ) -> Any:
        """Execute an operation and return its results, as an async generator.

        Subscriptions that are in order share what they are told (`schema.sharing`); whatever else there is goes
        Strawberry's way.
        """
        operation = self.find(query or "", operation_name)
        if (
            operation is None
            or operation.type is not OperationType.SUBSCRIPTION
            or not isinstance(context_value, Context)
            or allowed_operation_types is not None
            or not self.is_ready(operation, variable_values)
        ):
            return await super().stream(
                query,
                variable_values,
                context_value,
                root_value,
                operation_name,
                operation_extensions,
                allowed_operation_types,
            )

        def executor_for(context: Context) -> Any:
            return self._executor(operation, variable_values, context, root_value)

        variables = variables_of(operation.told_by, variable_values or {})
        return Told(partial(self._told, executor_for, context_value, (query, operation_name, variables)))

    async def _told(
        self, executor_for: Callable[[Context], Any], context: Context, asked: Hashable, told: Told
    ) -> AsyncGenerator[ExecutionResult]:
        """What a subscription is told; `asked` is all that it depends on besides who is asking."""
        begin_trace()
        try:
            offer = None if told.tell is None else told.offer
            events = await _events_of(executor_for(context.for_operation(offer)))
            if isinstance(events, list):
                self.process_errors(cast("list[GraphQLError]", events))
                yield PreExecutionError(data=None, errors=cast("list[GraphQLError]", events))
                return
            answers = told.answers = self._answers(executor_for, context, asked)
            async with aclosing(events):
                async for event in events:
                    yield answers.now(event) or await answers.to(event)
        except Exception as error:  # noqa: BLE001  (what the stream or a bug raises is told, and ends it)
            errors = [error if isinstance(error, GraphQLError) else GraphQLError(str(error), original_error=error)]
            self.process_errors(errors)
            yield ExecutionResult(data=None, errors=errors)

    def _answers(self, executor_for: Callable[[Context], Any], context: Context, asked: Hashable) -> Answers:
        """The answers that everybody shares who asks this and is the same person."""
        viewer = None if context.viewer is None else replace(context.viewer, expires_at=None)
        # Services are of one application: a schema may serve several.
        key = (asked, viewer, id(context.services))
        answers = self.known.get(key)
        if answers is None:
            answers = self.known[key] = Answers(executor_for(Context(context.services, viewer)), self.process_errors)
        return answers

    def _executor(self, operation: Operation, variables: Mapping[str, Any] | None, context: Any, root: Any) -> Any:
        """What executes an operation that is ready, or a list of what is wrong with its variables."""
        prepared = operation.prepared
        if prepared is None:
            prepared = operation.prepared = cast("type[CompiledExecutor]", self.executor_class).prepare(
                self._schema, operation.ast, operation.name, optimized_is_awaitable
            )
        return prepared.executor(root, context, variables)

    def is_ready(self, operation: Operation, variables: Mapping[str, object] | None) -> bool:
        """Whether an operation is compiled and nothing stands in the way of executing it."""
        if operation.is_always_ready:
            return True
        if self.executor_class is None or not operation.is_valid:
            return False
        is_ready = self.nodes_error(operation, variables or {}) is None
        operation.is_always_ready = is_ready and not operation.sized_by
        return is_ready

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Replace each error by what clients are shown: every way to a client passes here."""
        del execution_context
        errors[:] = [shown(error, suggests=self.suggests) for error in errors]

    def document(self, text: str) -> Document:
        """Parse and validate. Raises GraphQLError where it is no GraphQL."""
        return self.documents.get(self._schema, text)

    def find(self, text: str, operation_name: str | None) -> Operation | None:
        """The operation that is asked for; None where there is none, which is told when it is executed."""
        try:
            return self.documents.get(self._schema, text).operations.get(operation_name)
        except GraphQLError:
            return None

    def nodes_error(self, operation: Operation, variables: Mapping[str, object]) -> GraphQLError | None:
        """Whether a valid operation may bring too many rows with these variables."""
        return self.documents.nodes_error(self._schema, operation, variables)


def build_schema(
    limits: Limits | None = None, *, introspection: bool = True, suggestions: bool = True, compiled: bool = True
) -> Schema:
    """Build the schema; it has no state but the documents that it has seen.

    `introspection` says whether clients may ask for the schema itself, `suggestions` whether errors may guess at
    what was meant; without introspection they never do, for guesses tell the schema too. Unless `compiled`, every
    operation is executed by graphql-core alone: slower, and otherwise the same.
    """
    enums.register()
    executor_class = compiled_executor(StrawberryBindings()) if compiled else None
    built = Schema(
        Query,
        Mutation,
        Subscription,
        types=[Validation],
        config=StrawberryConfig(scalar_map=SCALARS),
        extensions=[_Operation],
        execution_context_class=executor_class,
    )
    built.executor_class = executor_class
    built.known = WeakValueDictionary()
    built.documents = Documents(limits or Limits(), introspection)
    built.suggests = introspection and suggestions
    _finish(built)
    return built


async def _events_of(executor: Any) -> Any:
    """The events of a subscription, an async generator, or the list of what is wrong with it."""
    if isinstance(executor, list):
        return cast("Any", executor)
    events = cast("Any", execution).create_source_event_stream(executor)
    if optimized_is_awaitable(events):
        events = await events
    return events.errors if isinstance(events, GraphQLResult) else events


def _finish(built: Schema) -> None:
    """Describe arguments, and take away the defaults of null, which only say that nothing was given."""
    for type_ in built._schema.type_map.values():  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        if type_.name.startswith("__"):
            continue
        if isinstance(type_, GraphQLInputObjectType):
            for item in type_.fields.values():
                if item.default_value is None:
                    item.default_value = Undefined
        elif isinstance(type_, GraphQLObjectType | GraphQLInterfaceType):
            for output in type_.fields.values():
                for name, argument in output.args.items():
                    argument.description = _ARGUMENTS[name]
                    if argument.default_value is None:
                        argument.default_value = Undefined


class _Operation(SchemaExtension):
    """What happens to each operation before it is executed."""

    document: Document | None = None

    def on_operation(self) -> Iterator[None]:
        """Give it a context of its own: a WebSocket has one for all that it carries."""
        begin_trace()
        context = self.execution_context.context
        if isinstance(context, Context):
            self.execution_context.context = context.for_operation()
        yield

    def on_parse(self) -> Iterator[None]:
        """Take the document that is known; one that cannot be parsed is parsed again where the error is told."""
        context = self.execution_context
        served = cast("Schema", context.schema)
        context.parse_options = {"max_tokens": served.documents.limits.tokens}
        with suppress(GraphQLError):
            self.document = served.document(context.query or "")
            context.graphql_document = self.document.ast
        yield

    def on_validate(self) -> Iterator[None]:
        """Take the errors that are known, or see whether this very operation can be executed."""
        if self.document is not None:
            error = None if self.document.errors else self._operation_error(self.document)
            self.execution_context.pre_execution_errors = self.document.errors or ([error] if error else [])
        yield

    def _operation_error(self, document: Document) -> GraphQLError | None:
        context = self.execution_context
        # Strawberry would execute the first of several operations where none was named.
        given_name: str | None = cast("Any", context)._provided_operation_name  # noqa: SLF001
        operation = document.operations.get(given_name)
        if operation is None:
            message = "The document has several operations: say in operationName which."
            return GraphQLError(message, extensions={"code": BAD_REQUEST})
        return cast("Schema", context.schema).nodes_error(operation, context.variables or {})

    async def on_execute(self) -> AsyncIterator[None]:
        """Read where the feed stands before anything else is read: what comes between is told twice, not never."""
        context: Any = self.execution_context.context
        if isinstance(context, Context) and self.document is not None:
            operation = self.document.operations.get(self.execution_context.operation_name)
            if operation is not None and operation.asks_feed_cursor:
                await read_feed_cursor(context)
        yield


def begin_trace() -> None:
    """Give what is done from here on a trace, where it has none."""
    if current_trace_id.get() is None:
        current_trace_id.set(new_trace_id())


async def read_feed_cursor(context: Context) -> None:
    """Read where the feed stands, for a query that asks for it."""
    if context.viewer is not None:
        context.feed_cursor = asyncio.ensure_future(context.services.feed.cursor())
        await asyncio.wait([context.feed_cursor])
