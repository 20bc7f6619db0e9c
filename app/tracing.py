"""Sends spans where the standard OTEL_ variables say; without any of them, none are made."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from app.settings import BadSettingError
from services import trace

if TYPE_CHECKING:
    from collections.abc import Mapping

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def wants_traces(environment: Mapping[str, str]) -> bool:
    """Whether the environment names somebody to send traces to."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    return exporter not in {"", "none"} or (not exporter and any(environment.get(name) for name in _ENDPOINTS))


def trace_as_told() -> None:
    """Make spans and send them, if the environment says where. Raises BadSettingError.

    The variables are the standard's own, and its library reads them: exporter, endpoint, headers, sampler, batches.
    """
    if not wants_traces(os.environ):
        return
    exporter = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    try:
        sdk: Any = import_module("opentelemetry.sdk.trace")
        export: Any = import_module("opentelemetry.sdk.trace.export")
        resources: Any = import_module("opentelemetry.sdk.resources")
        if exporter == "otlp":
            http: Any = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
            processor = export.BatchSpanProcessor(http.OTLPSpanExporter())
        elif exporter == "console":
            processor = export.SimpleSpanProcessor(export.ConsoleSpanExporter())
        else:
            raise BadSettingError(f"OTEL_TRACES_EXPORTER: {exporter!r} is not known here: otlp, console or none")
    except ImportError:
        raise BadSettingError("OTEL_TRACES_EXPORTER: traces need more packages: pip install 'signoff[otel]'") from None
    named = {"service.name": os.environ.get("OTEL_SERVICE_NAME") or "signoff"}
    provider = sdk.TracerProvider(resource=resources.Resource.create(named))
    provider.add_span_processor(processor)

    def samples(trace_id: int) -> bool:
        return bool(provider.sampler.should_sample(None, trace_id, "signoff").decision.is_sampled())

    trace.make_spans(provider.get_tracer("signoff"), samples)
