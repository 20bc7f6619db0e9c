"""Expressions and schemas that strangers wrote, evaluated in child processes that can be killed.

Neither CEL nor JSON Schema bounds its own cost: five nested maps or thirty doubling references run for
minutes and hold the interpreter's lock all the while. See docs/adr/0004.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import struct
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

import orjson

from services.large_values import beside_the_loop, is_large
from services.strict_json import InvalidJsonError, canonical, check

if TYPE_CHECKING:
    from types import TracebackType

    from services.ports import Job, JsonValue

MAX_EXPRESSION_CHARACTERS = 1_000
MAX_SCHEMA_BYTES = 64 * 1024

# A child is up in 0.1 s; a machine that needs this long is out of order.
_START_SECONDS = 30.0
_WORKER = Path(__file__).with_name("sandbox_worker.py")


class ExpressionError(Exception):
    """An expression gave no JSON value; one line says why."""


class MissingKeyError(ExpressionError):
    """An expression asked for a key or an index that is not there."""


class TooCostlyError(Exception):
    """An evaluation was killed because it took too long, or twice took its process down with it."""


class _ChildEndedError(Exception):
    """The child ended before it answered."""


class _Child(asyncio.SubprocessProtocol):
    """One child process, asked one thing at a time."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        """Set once nothing of it is left."""
        self._transport: asyncio.SubprocessTransport | None = None
        self._received = bytearray()
        self._reply: asyncio.Future[bytes] | None = None
        self.ended = False
        """Whether it can no longer be asked: it was killed, or has closed its pipes."""

    @classmethod
    async def start(cls) -> Self:
        """Start a child; it is of use after its first frame, for which `receive` waits."""
        _, child = await asyncio.get_running_loop().subprocess_exec(
            cls,
            # Isolated: neither PYTHON* variables nor the working directory decide what it imports.
            *(sys.executable, "-I", str(_WORKER)),
            stderr=asyncio.subprocess.DEVNULL,  # the libraries' panics quote what strangers wrote
            env={},  # it has no business with the service's secrets
            start_new_session=True,
        )
        return child

    async def ask(self, frame: bytes) -> bytes:
        """Send a frame and return the one that answers it. Raises _ChildEndedError."""
        if self.ended or self._transport is None:
            raise _ChildEndedError
        stdin = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
        stdin.write(struct.pack(">I", len(frame)))
        stdin.write(frame)
        return await self.receive()

    async def receive(self) -> bytes:
        """Wait for the next frame. Raises _ChildEndedError."""
        if self.ended:
            raise _ChildEndedError
        self._reply = asyncio.get_running_loop().create_future()
        self._deliver()
        return await self._reply

    def end(self) -> None:
        """Kill it; `gone` is set once nothing of it is left, its pipes included."""
        # Killing one that ended by itself could reap it before asyncio does, which would log a warning.
        if self._transport is not None and not self.ended:
            self.ended = True
            with contextlib.suppress(ProcessLookupError):
                self._transport.kill()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002
        self._received += data
        self._deliver()

    def process_exited(self) -> None:
        self._fail()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002
        self._fail()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._transport is not None:
            # Only now: closing one whose process has ended, but is not reaped yet, makes asyncio log a
            # warning.
            self._transport.close()
            self._transport = None
        self._fail()
        self.gone.set()

    def _deliver(self) -> None:
        if self._reply is None or self._reply.done() or len(self._received) < 4:  # noqa: PLR2004
            return
        end = 4 + int.from_bytes(self._received[:4], "big")
        if len(self._received) >= end:
            frame = bytes(self._received[4:end])
            del self._received[:end]
            self._reply.set_result(frame)

    def _fail(self) -> None:
        self.ended = True
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(_ChildEndedError())


class Sandbox:
    """Evaluates CEL and JSON Schema in at most `workers` child processes, each call for at most `seconds`.

    Children are started when first needed and kept. Calls that find all of them busy wait in the order they
    came; waiting does not count against `seconds`. One sandbox belongs to one event loop.
    """

    def __init__(
        self, workers: int = 1, seconds: float = 2.0, expression_characters: int = MAX_EXPRESSION_CHARACTERS
    ) -> None:
        self._seconds = seconds
        self._expression_characters = expression_characters
        self._places = asyncio.Semaphore(workers)
        self._idle: list[_Child] = []
        self._children: set[_Child] = set()
        self._starting = asyncio.Lock()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def evaluate(self, expression: str, variables: Mapping[str, JsonValue]) -> JsonValue:
        """Return what a CEL expression gives. Raises ExpressionError, TooCostlyError.

        Numbers keep their kinds: 1 is CEL's int, 1.0 its double; they compare, but do not add. size() of a
        string counts characters. Results that JSON does not have (times, bytes, NaN) are ExpressionErrors.
        """
        if len(expression) > self._expression_characters:
            raise ExpressionError(f"it has more than {self._expression_characters} characters")
        value = await self._ask({"do": "evaluate", "expression": expression, "variables": variables})
        try:
            return await beside_the_loop(check, value) if is_large(value) else check(value)
        except InvalidJsonError as error:
            raise ExpressionError(f"it does not give JSON: {error}") from None

    async def validate(self, schema: JsonValue, value: JsonValue, *, formats: bool = False) -> list[str]:
        """Say what of `value` does not meet `schema`: at most 10 lines "/pointer: what is wrong", or none.

        JSON Schema 2020-12, in which `format` is a mere annotation; `formats` has it checked. Of a value
        larger than 64 KiB only the first problem is told. A schema that is not valid is the one line. Raises
        TooCostlyError.
        """
        try:
            found = await self._ask({"do": "validate", "schema": schema, "value": value, "formats": formats})
        except ExpressionError as error:
            return [str(error)]
        return cast("list[str]", found)

    async def check_schema(self, schema: JsonValue) -> list[str]:
        """Say what is wrong with a schema at registration, at most 10 lines, or none.

        It must be an object or a boolean of at most 64 KiB that meets the 2020-12 metaschema, with references
        only into itself and regular expressions that can be matched in linear time.
        """
        try:
            size = len(canonical(check(schema)).encode())
        except InvalidJsonError as error:
            return [str(error)]
        if size > MAX_SCHEMA_BYTES:
            return [f"The schema has {size} bytes; {MAX_SCHEMA_BYTES} is the limit."]
        try:
            return cast("list[str]", await self._ask({"do": "check_schema", "schema": schema}))
        except TooCostlyError:
            return ["The schema takes too long to check even the simplest values."]

    async def check_expression(self, expression: str, *, variables: Collection[str]) -> list[str]:
        """Say what is wrong with an expression at registration, at most 10 lines, or none.

        It must compile, have at most so many characters, use only the named variables and CEL's own functions,
        and nest its macros (all, exists, exists_one, filter, map) at most two deep.
        """
        if len(expression) > self._expression_characters:
            return [f"The expression has {len(expression)} characters; {self._expression_characters} is the limit."]
        try:
            check(expression)
        except InvalidJsonError as error:
            return [str(error)]
        request: dict[str, object] = {"do": "check_expression", "expression": expression}
        try:
            return cast("list[str]", await self._ask({**request, "variables": sorted(variables)}))
        except TooCostlyError:
            return ["The expression takes too long to read."]

    async def close(self) -> None:
        """End all children. Calls under way, and later ones that need a child, raise RuntimeError."""
        self._closed = True
        async with self._starting:  # one that is just being started is to be ended too
            children = tuple(self._children)
        for child in children:
            child.end()
        for child in children:
            await child.gone.wait()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise RuntimeError("The sandbox is closed.")

    async def _ask(self, request: Mapping[str, object]) -> JsonValue:
        async with self._places:
            # Only now, so that many calls at once do not write their large frames in one go.
            frame = orjson.dumps({**request, "seconds": self._seconds}, default=_plain)
            for _ in range(2):
                with contextlib.suppress(_ChildEndedError):
                    return _read(await self._ask_a_child(frame))
                self._refuse_if_closed()
        raise TooCostlyError("it took down two processes that evaluated it")

    async def _ask_a_child(self, frame: bytes) -> bytes:
        child = await self._child()
        try:
            async with asyncio.timeout(self._seconds):
                reply = await child.ask(frame)
        except TimeoutError:
            child.end()
            raise TooCostlyError(f"it took longer than {self._seconds:g} s") from None
        except BaseException:
            # Cancelled, perhaps: the child would answer this question to whoever asks next.
            child.end()
            raise
        self._idle.append(child)
        return reply

    async def _child(self) -> _Child:
        """Take an idle child that still lives, or start one."""
        while self._idle:
            child = self._idle.pop()
            if not child.ended:
                return child
        async with self._starting:
            self._refuse_if_closed()
            child = await _Child.start()
            self._children = {one for one in self._children if not one.gone.is_set()} | {child}
        try:
            async with asyncio.timeout(_START_SECONDS):
                await child.receive()
        except (TimeoutError, _ChildEndedError):
            child.end()
            self._refuse_if_closed()
            raise RuntimeError(f"{_WORKER} does not start.") from None
        except BaseException:
            child.end()
            raise
        return child


def job_variable(job: Job) -> dict[str, JsonValue]:
    """Show a job as expressions see it; input that is null is left out."""
    shown: dict[str, JsonValue] = {
        "id": job.id,
        "title": job.title,
        "description": job.description,
        "acceptance_criteria": [
            {"id": criterion.id, "text": criterion.text, "required": criterion.required}
            for criterion in job.acceptance_criteria
        ],
    }
    if job.input is not None:
        shown["input"] = job.input
    return shown


def outside_strings(expression: str) -> str:
    """Blank out the string literals of an expression, for looking at its names."""
    return re.sub(r"""[rR]?"(?:[^"\\]|\\.)*+"|[rR]?'(?:[^'\\]|\\.)*+'""", '""', expression)


def _read(frame: bytes) -> JsonValue:
    match orjson.loads(frame):
        case {"value": value}:
            return cast("JsonValue", value)
        case {"error": str(message), "missing": bool(missing)}:
            raise MissingKeyError(message) if missing else ExpressionError(message)
        case reply:
            raise AssertionError(f"the child answered {reply!r}")


def _plain(value: object) -> object:
    """Let orjson write the mappings and sequences that it does not know."""
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, object]", value))
    return list(cast("Iterable[object]", value))
