"""What every request gets: a trace id, one log line, and an answer when the database is away."""

import re
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, HttpResponse
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanKind
from prometheus_client import Gauge, Histogram

from audit_app.base import text_safety, tracing
from audit_app.http.serializers import UUID_TEXT
from audit_app.live import long_poll
from orchestrator.web import csp, problems, telemetry
from orchestrator.web.circuit_breaker import availability
from orchestrator.web.throttling import WINDOW_SECONDS, Limit, count_by_address

log = structlog.get_logger("orchestrator.requests")

GetResponse = Callable[[HttpRequest], HttpResponse]
WITHOUT_DATABASE = (
    "/health",
    "/status",
    "/schema",
    "/docs",
    "/metrics",
    "/static/",
    "/.well-known/",
)
"""What is answered without the database."""
PROBES = ("/health", "/status", "/metrics")
"""What kubelets and Prometheus ask for by the address of a process."""
REQUESTS = Histogram(
    "orchestrator_request_seconds",
    "Requests by method, route and status. What was held by Prefer: wait takes long by design.",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60),
)
POOL = Gauge(
    "orchestrator_pool_connections",
    "Database connections of the pools, by state: open, idle, or requests waiting for one.",
    ["state"],
    multiprocess_mode="livesum",
)
POOL_STATISTICS = {
    POOL.labels("open"): "pool_size",
    POOL.labels("idle"): "pool_available",
    POOL.labels("waiting"): "requests_waiting",
}
BODY_TIMEOUT_KEY = "orchestrator.body_timeout"
"""Present in a request's environ where its body stopped arriving."""
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT")
TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def trace_id_of(request: HttpRequest) -> UUID | None:
    """The trace that the caller named: X-Trace-Id (a UUID or a traceparent), else traceparent.

    Raises ValueError for an X-Trace-Id that is neither; a bad traceparent is ignored, as W3C Trace
    Context asks.
    """
    given = request.headers.get("X-Trace-Id")
    if given is not None:
        match = TRACEPARENT.fullmatch(given)
        if not match and not UUID_TEXT.fullmatch(given):
            raise ValueError("it is neither")
        return UUID(match[1] if match else given)
    match = TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))
    return UUID(match[1]) if match else None


class TraceMiddleware:
    """Give each request a trace id and a span, and each response its security headers, its metrics
    and one log line."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        began = time.perf_counter()
        structlog.contextvars.clear_contextvars()
        try:
            trace_id = trace_id_of(request) or uuid4()
            tracing.current.set(trace_id)
        except ValueError:
            trace_id = uuid4()
            tracing.current.set(trace_id)
            detail = "it must be a UUID or a W3C traceparent."
            fields = [{"field": "X-Trace-Id", "detail": detail, "code": "invalid"}]
            response = problems.problem(400, f"X-Trace-Id: {detail}", errors=fields)
        else:
            structlog.contextvars.bind_contextvars(trace_id=str(trace_id))
            given = request.headers.get("traceparent")
            parent = telemetry.parent_of(given, trace_id) if given else None
            method = request.method or ""
            with telemetry.tracer.start_as_current_span(
                method, context=parent, kind=SpanKind.SERVER
            ) as span:
                with text_safety.limit_page():
                    response = self.get_response(request)
                context = span.get_span_context()
                # Where nothing is collected, the work still goes on from an id (W3C Trace Context).
                span_id = context.span_id or RandomIdGenerator().generate_span_id()
                response.headers["traceparent"] = (
                    f"00-{trace_id.hex}-{span_id:016x}-{int(context.trace_flags):02x}"
                )
                if span.is_recording():
                    match = request.resolver_match
                    span.update_name(f"{method} {match.route}" if match else method)
                    span.set_attribute("http.request.method", method)
                    span.set_attribute("http.route", match.route if match else "")
                    span.set_attribute("http.response.status_code", response.status_code)
        # A view may set something stricter.
        page = response.headers.get("Content-Type", "").startswith("text/html")
        policy = csp.of_pages() if page else csp.OF_DATA
        response.headers.setdefault("Content-Security-Policy", policy)
        response.headers.setdefault("Permissions-Policy", settings.PERMISSIONS_POLICY)
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        response.headers["X-Trace-Id"] = str(trace_id)
        # A held request was counted and logged when it came; now it is only asked again.
        if request.META.get(long_poll.ENVIRON_KEY) is None:
            _report(request, response, time.perf_counter() - began)
        return response


def _report(request: HttpRequest, response: HttpResponse, seconds: float) -> None:
    """Count the request, note the state of the connection pool, and write the log line."""
    method = request.method or ""
    # The pattern and not the path, so that labels stay few.
    route = request.resolver_match.route if request.resolver_match else None
    label = method if method in METHODS else "other"
    REQUESTS.labels(label, route or "none", str(response.status_code)).observe(seconds)
    if pool := getattr(connection, "pool", None):
        statistics = pool.get_stats()
        for gauge, name in POOL_STATISTICS.items():
            gauge.set(statistics.get(name, 0))
    log.info(
        "request",
        method=request.method,
        route=route,
        status=response.status_code,
        actor=getattr(request, "actor_name", None),
        milliseconds=round(seconds * 1000, 1),
        **({"held": True} if hasattr(response, "long_poll") else {}),
    )


class AdmissionMiddleware:
    """Admit a request, or refuse it before anybody is authenticated.

    While the database is known to be away, the answer is a 503 at once. An address that exceeds
    ADDRESS_LIMIT_PER_MINUTE or LOGIN_LIMIT_PER_MINUTE gets a 429. Each response says how much is
    left of the limits that its request was counted against
    (draft-ietf-httpapi-ratelimit-headers-10).
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if BODY_TIMEOUT_KEY in request.META:
            return problems.body_timeout()
        if request.path in PROBES:
            # No answer there depends on the host, and ALLOWED_HOSTS can't know the addresses.
            request.META["HTTP_HOST"] = settings.ALLOWED_HOSTS[0].lstrip(".")
        needs_database = not request.path.startswith(WITHOUT_DATABASE)
        if needs_database and availability.away:
            return problems.unavailable(request)
        limits: list[Limit] = []
        request.limits = limits  # type: ignore[attr-defined]  # CallerThrottle adds the caller's
        is_limited = needs_database or (request.path == "/metrics" and not availability.away)
        # A held request was counted when it came.
        if is_limited and request.META.get(long_poll.ENVIRON_KEY) is None:
            try:
                if limit := count_by_address(request):
                    limits.append(limit)
            except (DatabaseError, InterfaceError) as error:
                if needs_database:
                    return problems.unavailable(request, error)
        if limits and limits[0].exceeded:
            response = problems.too_many_requests(request, limits[0].resets_in)
        else:
            response = self.get_response(request)
        if limits:
            response.headers["RateLimit-Policy"] = ", ".join(
                f'"{limit.policy}";q={limit.quota};w={WINDOW_SECONDS}' for limit in limits
            )
            response.headers["RateLimit"] = ", ".join(
                f'"{limit.policy}";r={limit.remaining};t={limit.resets_in}' for limit in limits
            )
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Outside of DRF too, an unreachable database is a 503 and no stack trace."""
        if problems.is_away(error):
            return problems.unavailable(request, error)
        return None
