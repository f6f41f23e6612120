"""Spans go to the collector that the environment names, in the trace of the request."""

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


def spans(bodies):
    found = []
    for body in bodies:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                found.extend(scope.spans)
    return found


def test_a_request_and_its_operation_are_spans_of_the_callers_trace(serving, collector, bot):
    url, bodies = collector
    mine = {"Authorization": f"Bearer {bot.key}"}
    with serving(OTEL_EXPORTER_OTLP_ENDPOINT=url) as client:
        given = mine | {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        answer = client.post("/sessions", json={"agent_role": "support-agent"}, headers=given)
        assert answer.status_code == 201
        own = client.get("/tasks", headers=mine)

    told = {span.name: span for span in spans(bodies)}
    request, operation = told["POST sessions"], told["session.open"]
    assert request.trace_id.hex() == operation.trace_id.hex() == TRACE
    assert request.parent_span_id.hex() == PARENT
    assert operation.parent_span_id == request.span_id
    assert answer.headers["traceparent"] == f"00-{TRACE}-{request.span_id.hex()}-01"
    # Without a trace of the caller's, the span is in the one that the answer names.
    assert told["GET tasks"].trace_id.hex() == own.headers["X-Trace-Id"].replace("-", "")


def test_nothing_is_collected_where_nobody_asked(serving, collector, bot):
    _, bodies = collector
    with serving() as client:
        client.get("/status")
    assert bodies == []
