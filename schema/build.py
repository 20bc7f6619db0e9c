"""The schema, built."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from typing import Any, cast

import strawberry
from graphql import (
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    OperationType,
    Undefined,
)
from strawberry.extensions import SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.types.execution import ExecutionContext

from compiled import compiled_executor
from resolvers.context import Context
from resolvers.selection import fields
from schema import enums
from schema.bindings import StrawberryBindings
from schema.documents import Document, Documents
from schema.errors import BAD_REQUEST, shown
from schema.limits import Limits
from schema.nodes import Validation
from schema.roots import Mutation, Query, Subscription
from schema.scalars import SCALARS
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

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Replace each error by what clients are shown: every way to a client passes here."""
        del execution_context
        errors[:] = [shown(error, suggests=self.suggests) for error in errors]

    def document(self, text: str) -> Document:
        """Parse and validate. Raises GraphQLError where it is no GraphQL."""
        return self.documents.get(self._schema, text)

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
    built.documents = Documents(limits or Limits(), introspection)
    built.suggests = introspection and suggestions
    _finish(built)
    return built


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
        if current_trace_id.get() is None:
            current_trace_id.set(new_trace_id())
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
        if isinstance(context, Context) and context.viewer is not None and self._asks_for_feed_cursor():
            context.feed_cursor = asyncio.ensure_future(context.services.feed.cursor())
            await asyncio.wait([context.feed_cursor])
        yield

    def _asks_for_feed_cursor(self) -> bool:
        document = self.document
        operation = None if document is None else document.operation(self.execution_context.operation_name)
        if document is None or operation is None or operation.operation is not OperationType.QUERY:
            return False
        fragments = {
            item.name.value: item for item in document.ast.definitions if isinstance(item, FragmentDefinitionNode)
        }
        return any(node.name.value == "feedCursor" for node in fields([operation.selection_set], fragments, None))
