"""Executes GraphQL operations that were compiled once, over graphql-core's own schemas.

graphql-core walks the document anew for every value that it completes: it looks fields up by name, asks what kind of
type each has, and makes a path, an info object and, for anything awaited, a coroutine for each level. Almost none of
that depends on the values. Here the walk is done once for each operation, and what is left of it is one generated
function for each selection set: attributes read, classes compared, a dict built.

    executor_class = compiled_executor(Bindings())
    result = await execute(schema, document, executor_class=executor_class)

Whoever keeps a document can have its operation prepared besides, for executors that take less to make:

    prepared = executor_class.prepare(schema, document)
    result = await prepared.executor(None, context, variables).execute_operation()

What is not done here is left to graphql-core, field by field (`fields.CoreField`) or for a whole operation
(`Plans.of`): introspection, `@defer` and `@stream`, fragment variables, middleware, abort signals. So are all the
rare turns of an ordinary field: a value of an unexpected class, an error, an awaitable where none was expected is
handed to the very methods of `graphql.execution.Executor` that would have had it anyway. Answers are the same, byte
for byte, errors and their order of paths included; what differs is told here:

- a field's arguments are coerced once for an operation, not for each parent: a resolver must not change them;
- a value is told from an awaitable by its class.

A field that needs a value of its own for each parent, but may read those of many parents at once, is best declared in
two stages (`Bindings.key` and `Bindings.reading`): by which attribute of a parent its value is known, and how the
values of many keys are read. Then a parent costs no call of a resolver and nothing to await: its key and its gap in the
answer are noted, and one loop fills the gaps. Fields that read alike share a `Batch`, which is where a loader comes
in; where nothing but one batch is awaited, it is read at once and without a task.

The package knows graphql-core and nothing else. What a schema library knows besides (which attribute a field reads,
by which it is read from elsewhere, how its resolvers are called without its own wrapping) it says through `Bindings`.
"""

from compiled.bindings import Batch, Bindings, Call, OfSource, Reading
from compiled.executor import CompiledExecutor, compiled_executor
from compiled.prepared import Prepared

__all__ = ["Batch", "Bindings", "Call", "CompiledExecutor", "OfSource", "Prepared", "Reading", "compiled_executor"]
