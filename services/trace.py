"""The trace that the present work belongs to (W3C Trace Context): set for each request, kept by executions.

Spans are made only where the process was told to send them somewhere (`app.tracing`); else a span costs one look at a
variable.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from random import getrandbits
from typing import TYPE_CHECKING, TypeAlias

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from contextlib import AbstractContextManager

    from opentelemetry.trace import Span, Tracer

    Caller: TypeAlias = tuple[str, str, str]
    """Its trace id, span id and flags."""

__all__ = [
    "SpanKind",
    "begun",
    "current_trace_id",
    "current_work",
    "failed",
    "make_spans",
    "makes_spans",
    "new_trace_id",
    "opened",
    "operation_span",
    "received",
    "span",
    "traceparent",
]

# 32 hexadecimal digits, or None outside of any request.
current_trace_id: ContextVar[str | None] = ContextVar("current_trace_id", default=None)
# The job and the execution that are being worked on, for the process's own log.
current_work: ContextVar[tuple[str, str] | None] = ContextVar("current_work", default=None)
# On a WebSocket: who opened it, where it says so. Elsewhere empty.
_opened_by: ContextVar[tuple[Caller | None, ...]] = ContextVar("opened_by", default=())


class _Tracing:
    tracer: Tracer | None = None
    samples: Callable[[int], bool] = bool


# One serves all: it has nothing to remember.
_NO_SPAN: AbstractContextManager[None] = nullcontext()


def make_spans(tracer: Tracer | None, samples: Callable[[int], bool] = bool) -> None:
    """Make spans with this tracer from now on; with None, none. `samples` says of a trace whether it is sent."""
    _Tracing.tracer, _Tracing.samples = tracer, samples


def new_trace_id() -> str:
    """Make a trace id. It has to be unlike all others, and need not be hard to guess."""
    return f"{getrandbits(128):032x}"


def makes_spans() -> bool:
    """Whether spans are made at all: whoever is in a hurry asks before asking for one."""
    return _Tracing.tracer is not None


def traceparent(trace_id: str | None) -> str | None:
    """Make the header that carries a trace on to another service: under the present span, else under a fresh one."""
    if trace_id is None:
        return None
    present = trace.get_current_span().get_span_context()
    if present.is_valid and f"{present.trace_id:032x}" == trace_id:
        return f"00-{trace_id}-{present.span_id:016x}-{present.trace_flags:02x}"
    return f"00-{trace_id}-{secrets.token_hex(8)}-01"


def span(
    name: str, attributes: Mapping[str, str | int] | None = None, *, kind: SpanKind = SpanKind.INTERNAL
) -> AbstractContextManager[Span | None]:
    """Make a span of the present trace around the block, where spans are made at all.

    An exception that is ours to handle does not make it a failed one: whoever knows says so, by `failed`.
    """
    tracer = _Tracing.tracer
    trace_id = current_trace_id.get()
    return _NO_SPAN if tracer is None or trace_id is None else _span(tracer, trace_id, name, attributes, kind)


@contextmanager
def _span(
    tracer: Tracer, trace_id: str, name: str, attributes: Mapping[str, str | int] | None, kind: SpanKind
) -> Generator[Span]:
    present = trace.get_current_span()
    context = present.get_span_context()
    if not context.is_valid or f"{context.trace_id:032x}" != trace_id:
        # An execution goes on in the trace of its request, whichever process and moment that was.
        present = NonRecordingSpan(_came_from(trace_id))
    with tracer.start_as_current_span(
        name,
        trace.set_span_in_context(present),
        kind,
        attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as made:
        yield made


def operation_span(kind: str | None, name: str | None) -> AbstractContextManager[Span | None]:
    """Make the span of a GraphQL operation: within its request's, or, over a WebSocket, as one that was received.

    A socket may be open for days, and what it carries have nothing to do with each other: each operation is a trace,
    but for the sockets that were opened within one.
    """
    called, attributes = f"GraphQL {kind or 'operation'}", {"graphql.operation.name": name or ""}
    opened_by = _opened_by.get()
    return received(called, *opened_by, attributes=attributes) if opened_by else span(called, attributes)


def opened(caller: Caller | None) -> None:
    """Begin what is no request by itself: a WebSocket, whose operations are."""
    _opened_by.set((caller,))
    begun(caller)


def begun(caller: Caller | None) -> None:
    """Begin a trace, or go on with that of a caller, where no spans are made of it."""
    current_trace_id.set(caller[0] if caller else new_trace_id())


def received(
    name: str, caller: Caller | None, *, attributes: Mapping[str, str] | None = None
) -> AbstractContextManager[Span | None]:
    """Begin the trace of a request, under the span of its caller if it names one."""
    tracer = _Tracing.tracer
    if tracer is None:
        begun(caller)
        return _NO_SPAN
    return _received(tracer, name, caller, attributes)


@contextmanager
def _received(
    tracer: Tracer, name: str, caller: Caller | None, attributes: Mapping[str, str] | None
) -> Generator[Span]:
    # Nothing of the request before: the server begins the next one of a connection in the midst of that.
    context = Context()
    if caller is not None:
        trace_id, span_id, flags = (int(part, 16) for part in caller)
        parent = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
        context = trace.set_span_in_context(NonRecordingSpan(parent))
    with tracer.start_as_current_span(name, context, SpanKind.SERVER, attributes) as made:
        current_trace_id.set(f"{made.get_span_context().trace_id:032x}")
        yield made


def failed(made: Span | None, code: str) -> None:
    """Mark a span as one that brought no good."""
    if made is not None:
        made.set_status(StatusCode.ERROR, code)


def _came_from(trace_id: str) -> SpanContext:
    """A stand-in for the span that began the trace: its own id was not kept, and any will do."""
    number = int(trace_id, 16)
    flags = TraceFlags(TraceFlags.SAMPLED if _Tracing.samples(number) else TraceFlags.DEFAULT)
    return SpanContext(number, int(trace_id[:16], 16) or 1, is_remote=True, trace_flags=flags)
