"""The schema, built."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, cast
from weakref import WeakValueDictionary

import strawberry
from graphql import ExecutionResult as GraphQLResult
from graphql import (
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    OperationDefinitionNode,
    OperationType,
    Undefined,
    execution,
)
from strawberry.execution import optimized_is_awaitable
from strawberry.extensions import SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.types.execution import ExecutionContext, ExecutionResult, PreExecutionError
from strawberry.types.graphql import OperationType as Allowed

from compiled import compiled_executor
from resolvers.context import Context
from schema import enums
from schema.bindings import StrawberryBindings
from schema.documents import Document, Documents
from schema.errors import BAD_REQUEST, shown
from schema.limits import Limits
from schema.nodes import Validation
from schema.roots import Mutation, Query, Subscription
from schema.scalars import SCALARS
from schema.sharing import Answers, Known, variables_of
from services.trace import current_trace_id, new_trace_id

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
        ready = self._ready(query, operation_name, variable_values)
        if (
            ready is None
            or ready[1].operation is OperationType.SUBSCRIPTION
            or (
                allowed_operation_types is not None and Allowed(ready[1].operation.value) not in allowed_operation_types
            )
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
        document, operation = ready
        begin_trace()
        if isinstance(context_value, Context):
            context_value = context_value.for_operation()
            await read_feed_cursor(context_value, document, operation)
        try:
            executor = self._executor(document, operation_name, variable_values, context_value, root_value)
            result: Any = executor
            if not isinstance(executor, list):
                result = executor.execute_operation()
                if optimized_is_awaitable(result):
                    result = await result
        except Exception as error:  # noqa: BLE001  (a bug, which is told as one)
            result = [GraphQLError(str(error), original_error=error)]
        if isinstance(result, list):
            result = ExecutionResult(data=None, errors=cast("list[GraphQLError]", result))
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
        ready = self._ready(query, operation_name, variable_values)
        if (
            ready is None
            or ready[1].operation is not OperationType.SUBSCRIPTION
            or not isinstance(context_value, Context)
            or allowed_operation_types is not None
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

        document, operation = ready

        def executor_for(context: Context) -> Any:
            return self._executor(document, operation_name, variable_values, context, root_value)

        variables = variables_of(document.told_by(operation), variable_values or {})
        return self._told(executor_for, context_value, (query, operation_name, variables))

    async def _told(
        self, executor_for: Callable[[Context], Any], context: Context, asked: Hashable
    ) -> AsyncGenerator[ExecutionResult]:
        """What a subscription is told; `asked` is all that it depends on besides who is asking."""
        begin_trace()
        try:
            events = await _events_of(executor_for(context.for_operation()))
            if isinstance(events, list):
                self.process_errors(cast("list[GraphQLError]", events))
                yield PreExecutionError(data=None, errors=cast("list[GraphQLError]", events))
                return
            answers = self._answers(executor_for, context, asked)
            async with aclosing(events):
                async for event in events:
                    yield answers.known(event) or await answers.to(event)
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

    @property
    def _compiled(self) -> Any:
        """What executes compiled operations; None where that is off."""
        return cast("Any", self).execution_context_class

    def _executor(
        self,
        document: Document,
        operation_name: str | None,
        variables: dict[str, Any] | None,
        context: Any,
        root: Any,
    ) -> Any:
        """What executes a document's operation, or a list of what is wrong with its variables."""
        return self._compiled.build(
            self._schema,
            document.ast,
            root,
            context,
            variables,
            operation_name,
            is_awaitable=optimized_is_awaitable,
        )

    def _ready(
        self, query: str | None, operation_name: str | None, variables: Mapping[str, object] | None
    ) -> tuple[Document, OperationDefinitionNode] | None:
        """The document and the operation, where they are compiled and nothing stands in the way of executing them."""
        if self._compiled is None:
            return None
        try:
            document = self.document(query or "")
        except GraphQLError:
            return None
        operation = None if document.errors else document.operation(operation_name)
        if operation is None:
            return None
        error = self.nodes_error(document, operation_name, variables or {})
        return None if error is not None else (document, operation)

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Replace each error by what clients are shown: every way to a client passes here."""
        del execution_context
        errors[:] = [shown(error, suggests=self.suggests) for error in errors]

    def document(self, text: str) -> Document:
        """Parse and validate. Raises GraphQLError where it is no GraphQL."""
        return self.documents.get(self._schema, text)

    def operation_type(self, text: str, operation_name: str | None) -> OperationType | None:
        """The type of the operation that is asked for; None where there is none, which is told when it is executed."""
        try:
            operation = self.document(text).operation(operation_name)
        except GraphQLError:
            return None
        return None if operation is None else operation.operation

    def nodes_error(
        self, document: Document, operation_name: str | None, variables: Mapping[str, object]
    ) -> GraphQLError | None:
        """Whether a valid document's operation may bring too many rows with these variables."""
        return self.documents.nodes_error(self._schema, document, operation_name, variables)


def build_schema(
    limits: Limits | None = None, *, introspection: bool = True, suggestions: bool = True, compiled: bool = True
) -> Schema:
    """Build the schema; it has no state but the documents that it has seen.

    `introspection` says whether clients may ask for the schema itself, `suggestions` whether errors may guess at
    what was meant; without introspection they never do, for guesses tell the schema too. Unless `compiled`, every
    operation is executed by graphql-core alone: slower, and otherwise the same.
    """
    enums.register()
    built = Schema(
        Query,
        Mutation,
        Subscription,
        types=[Validation],
        config=StrawberryConfig(scalar_map=SCALARS),
        extensions=[_Operation],
        execution_context_class=compiled_executor(StrawberryBindings()) if compiled else None,
    )
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
        if document.operation(given_name) is None:
            message = "The document has several operations: say in operationName which."
            return GraphQLError(message, extensions={"code": BAD_REQUEST})
        return cast("Schema", context.schema).nodes_error(document, context.operation_name, context.variables or {})

    async def on_execute(self) -> AsyncIterator[None]:
        """Read where the feed stands before anything else is read: what comes between is told twice, not never."""
        context: Any = self.execution_context.context
        document = self.document
        operation = None if document is None else document.operation(self.execution_context.operation_name)
        if isinstance(context, Context) and document is not None and operation is not None:
            await read_feed_cursor(context, document, operation)
        yield


def begin_trace() -> None:
    """Give what is done from here on a trace, where it has none."""
    if current_trace_id.get() is None:
        current_trace_id.set(new_trace_id())


async def read_feed_cursor(context: Context, document: Document, operation: OperationDefinitionNode) -> None:
    """Read where the feed stands, where a query asks for it."""
    if context.viewer is not None and document.asks(operation, "feedCursor"):
        context.feed_cursor = asyncio.ensure_future(context.services.feed.cursor())
        await asyncio.wait([context.feed_cursor])
