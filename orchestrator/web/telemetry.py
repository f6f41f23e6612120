"""OpenTelemetry: a span for each request and each operation, exported where it was asked for.

The variables are OpenTelemetry's own: with OTEL_EXPORTER_OTLP_ENDPOINT set, spans go there by
OTLP over HTTP; without it nothing is collected. A span's trace is the request's trace id, the one
in the trail and on the log line, so that one search finds all three.
"""

import os
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context
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
        current = tracing.current.get(None)
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


def parent_of(traceparent: str, trace_id: UUID) -> Context | None:
    """The caller's span, where ``traceparent`` is of the same trace."""
    parent = extract({"traceparent": traceparent})
    context = trace.get_current_span(parent).get_span_context()
    return parent if context.trace_id == trace_id.int else None
