"""OpenTelemetry: a span for each request and each operation, exported where it was asked for.

The variables are OpenTelemetry's own: with OTEL_EXPORTER_OTLP_ENDPOINT set, spans go there by
OTLP over HTTP; without it nothing is collected. A span's trace is the request's trace id, the one
in the trail and on the log line, so that one search finds all three.
"""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from uuid import UUID

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import extract
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from audit_app.base import tracing
from orchestrator import __version__

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

tracer = trace.get_tracer("orchestrator", __version__)


class OurTraceIds(RandomIdGenerator):
    def generate_trace_id(self) -> int:
        current = tracing.current()
        return current.int if current else super().generate_trace_id()


def start() -> None:
    """Export spans from this process, where the environment names an endpoint."""
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return
    named = {"service.name": os.environ.get("OTEL_SERVICE_NAME", "orchestrator")}
    resource = Resource.create(named | {"service.version": __version__})
    provider = TracerProvider(resource=resource, id_generator=OurTraceIds())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def request_span(
    method: str, trace_id: UUID, headers: Mapping[str, str]
) -> AbstractContextManager[trace.Span]:
    """The span of one request, below the caller's where its traceparent is of the same trace."""
    below = None
    if given := headers.get("traceparent"):
        parent = extract({"traceparent": given})
        context = trace.get_current_span(parent).get_span_context()
        below = parent if context.trace_id == trace_id.int else None
    return tracer.start_as_current_span(method, context=below, kind=trace.SpanKind.SERVER)


def traceparent(trace_id: UUID) -> str:
    """Where the work goes on from here (W3C Trace Context): our span, or a new one's id."""
    context = trace.get_current_span().get_span_context()
    span_id = context.span_id or RandomIdGenerator().generate_span_id()
    return f"00-{trace_id.hex}-{span_id:016x}-{int(context.trace_flags):02x}"
