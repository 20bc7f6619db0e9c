"""Equal subscriptions share their answers: an event is executed and written once for all who are told the same of it.

Two subscriptions are equal where nothing that an answer may depend on differs: the document, the operation, the
variables that its selection uses (those of the field's own arguments say which events come, not what is told of
them) and who is asking. What is executed for them all has a context and a trace of its own, with nothing of any
listener's but who they are.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias, cast
from weakref import WeakValueDictionary

from graphql import GraphQLError
from graphql.execution import Executor
from strawberry.types.execution import ExecutionResult

from schema.scalars import written
from services.trace import current_trace_id, new_trace_id

# Listeners are told an event within a moment; one that is later has it executed again.
_KEPT_ANSWERS = 200
_KEPT_CHARACTERS = 1 << 20

Process: TypeAlias = Callable[[list[GraphQLError]], None]
"""Makes of errors, in place, what clients are shown."""


@dataclass
class Answer(ExecutionResult):
    """What is told of an event."""

    text: str | None = None
    """The whole of it as JSON; None where it has errors, whose place among the members differs by transport."""


@dataclass(eq=False)
class _Made:
    """An answer that is there, or will be."""

    event: object
    """Kept, so that nothing else has its identity meanwhile."""
    answer: Answer | None = None
    error: Exception | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)
    making: asyncio.Task[None] | None = None

    @property
    def size(self) -> int:
        return 0 if self.answer is None else len(self.answer.text or "")


class Answers:
    """What equal subscriptions are told of events."""

    def __init__(self, executor: Executor[Any], process: Process) -> None:
        """The executor has the context that the answers are for."""
        self._executor, self._process = cast("Any", executor), process
        self._made: OrderedDict[int, _Made] = OrderedDict()
        self._characters = 0

    def now(self, event: object) -> Answer | None:
        """Return what is told of an event, where that takes no waiting and has not failed."""
        made = self._made.get(id(event)) or self._make(event)
        return made.answer

    async def to(self, event: object) -> Answer:
        """Return what is told of an event, made when it is first asked for. Raises what its execution raises."""
        made = self._made.get(id(event)) or self._make(event)
        if made.answer is None:
            await made.done.wait()
            if made.answer is None:
                raise made.error or RuntimeError
        return made.answer

    def _make(self, event: object) -> _Made:
        made = self._made[id(event)] = _Made(event)
        # Not in the context of the listener that happens to be first: its trace is no business of the others.
        context = contextvars.Context()
        context.run(self._execute, made, context)
        return made

    def _execute(self, made: _Made, context: contextvars.Context) -> None:
        current_trace_id.set(new_trace_id())
        try:
            executor = self._executor.build_per_event_executor(made.event)
            result = executor.execute_operation(False)  # noqa: FBT003  (not one root field after the other)
            if executor.is_awaitable(result):
                # A task: the listener that asked first may leave while the others wait.
                made.making = asyncio.create_task(self._finish(made, result), context=context)
                return
            answer = self._answer(result)
        except Exception as error:  # noqa: BLE001  (it belongs to those who asked)
            self._end(made, error)
        else:
            self._end(made, answer)

    async def _finish(self, made: _Made, result: Awaitable[Any]) -> None:
        try:
            self._end(made, self._answer(await result))
        except Exception as error:  # noqa: BLE001  (as above)
            self._end(made, error)

    def _answer(self, result: Any) -> Answer:
        if result.errors:
            self._process(result.errors)
            return Answer(result.data, result.errors)
        return Answer(result.data, None, None, written({"data": result.data}).decode())

    def _end(self, made: _Made, result: Answer | Exception) -> None:
        if isinstance(result, Answer):
            made.answer = result
        else:
            made.error = result
        made.done.set()
        if self._made.get(id(made.event)) is not made:
            return  # others were in between, and it was forgotten
        self._characters += made.size
        while len(self._made) > 1 and (self._characters > _KEPT_CHARACTERS or len(self._made) > _KEPT_ANSWERS):
            self._characters -= self._made.popitem(last=False)[1].size


class Told:
    """What a subscription is told: an async generator of results."""

    __slots__ = ("_results", "answers", "tell")

    def __init__(self, results: Callable[[Told], AsyncGenerator[ExecutionResult]]) -> None:
        self.tell: Callable[[str], bool] | None = None
        """Given, before the first result is asked for, by whoever can send a text at once, or say False and do nothing.

        What comes while the next result is waited for is told that way where it can be, and is then no result any more.
        """
        self.answers: Answers | None = None
        self._results = results(self)

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[ExecutionResult]:
        return self._results.__anext__()

    def aclose(self) -> Awaitable[None]:
        """End; nothing is told any more."""
        return self._results.aclose()

    def offer(self, event: object) -> bool:
        """Tell an event, where that takes no waiting and goes without errors."""
        if self.tell is None or self.answers is None:
            return False
        answer = self.answers.now(event)
        return answer is not None and answer.text is not None and self.tell(answer.text)


Known: TypeAlias = WeakValueDictionary[Hashable, Answers]
"""The answers that somebody listens to."""


def variables_of(names: frozenset[str], given: Mapping[str, object]) -> str:
    """The given variables of these names as something that is equal only where they are: 1 is not True, nor 1.0."""
    return repr(sorted((name, value) for name, value in given.items() if name in names))
