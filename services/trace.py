"""The trace that the present work belongs to (W3C Trace Context): set for each request, kept by executions."""

from __future__ import annotations

import secrets
from contextvars import ContextVar

# 32 hexadecimal digits, or None outside of any request.
current_trace_id: ContextVar[str | None] = ContextVar("current_trace_id", default=None)


def new_trace_id() -> str:
    """Make a trace id."""
    return secrets.token_hex(16)


def traceparent(trace_id: str | None) -> str | None:
    """Make the header that carries a trace on to another service, with a fresh span."""
    return None if trace_id is None else f"00-{trace_id}-{secrets.token_hex(8)}-01"
