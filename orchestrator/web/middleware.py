"""What every request gets: a trace id, one log line, and an answer when the database is away."""

import re
import time
from collections.abc import Callable
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse

from audit_app.base import tracing
from audit_app.http.serializers import UUID_TEXT
from audit_app.live.long_poll import get_resumption
from orchestrator.web import csp, problems, telemetry
from orchestrator.web.circuit_breaker import availability
from orchestrator.web.request_metrics import count_request
from orchestrator.web.throttling import WINDOW_SECONDS, address_of, limits_of, shares

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
    """Follow the work: the caller's trace id or a new one, on the log line and on the answer."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        began = time.perf_counter()
        structlog.contextvars.clear_contextvars()
        try:
            trace_id = tracing.begin(trace_id_of(request))
        except ValueError:
            trace_id = tracing.begin()
            detail = "it must be a UUID or a W3C traceparent."
            fields = [{"field": "X-Trace-Id", "detail": detail, "code": "invalid"}]
            response = problems.problem(400, f"X-Trace-Id: {detail}", errors=fields)
        else:
            structlog.contextvars.bind_contextvars(trace_id=str(trace_id))
            response = self._followed(request, trace_id)
        response.headers["X-Trace-Id"] = str(trace_id)
        if get_resumption(request):
            return response  # it was counted and logged when it came
        match = request.resolver_match
        route = match.route if match else None
        seconds = time.perf_counter() - began
        count_request(request.method or "", route, response.status_code, seconds)
        log.info(
            "request",
            method=request.method,
            route=route,
            status=response.status_code,
            actor=getattr(request, "actor_name", None),
            milliseconds=round(seconds * 1000, 1),
            **({"held": True} if hasattr(response, "long_poll") else {}),
        )
        return response

    def _followed(self, request: HttpRequest, trace_id: UUID) -> HttpResponse:
        method = request.method or ""
        with telemetry.request_span(method, trace_id, request.headers) as span:
            response = self.get_response(request)
            response.headers["traceparent"] = telemetry.traceparent(trace_id)
            if span.is_recording():
                match = request.resolver_match
                span.update_name(f"{method} {match.route}" if match else method)
                span.set_attribute("http.request.method", method)
                span.set_attribute("http.route", match.route if match else "")
                span.set_attribute("http.response.status_code", response.status_code)
            return response


class HygieneMiddleware:
    """What browsers are told of every answer; a view may say something stricter."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        page = response.headers.get("Content-Type", "").startswith("text/html")
        policy = csp.of_pages() if page else csp.OF_DATA
        response.headers.setdefault("Content-Security-Policy", policy)
        response.headers.setdefault("Permissions-Policy", settings.PERMISSIONS_POLICY)
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        return response


class ProblemMiddleware:
    """Outside of DRF too, an unreachable database is a 503 and no stack trace; while it is known to
    be away, nobody waits for it."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if availability.away and not request.path.startswith(WITHOUT_DATABASE):
            return problems.unavailable(request)
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if problems.is_away(error):
            return problems.unavailable(request, error)
        return None


class LimitMiddleware:
    """ADDRESS_LIMIT_PER_MINUTE, judged before anybody is asked who they are; and on each answer
    where the caller stands (RateLimit header fields, draft-ietf-httpapi-ratelimit-headers-10)."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        quota = settings.ADDRESS_LIMIT_PER_MINUTE
        if not quota or get_resumption(request) or request.path.startswith(WITHOUT_DATABASE):
            return self._with_headers(request, self.get_response(request))
        try:
            limit = shares.count("address", address_of(request), quota)
        except (DatabaseError, InterfaceError) as error:
            return problems.unavailable(request, error)
        limits_of(request).append(limit)
        if limit.exceeded:
            return self._with_headers(request, problems.throttled(request, limit.resets_in))
        return self._with_headers(request, self.get_response(request))

    def _with_headers(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if limits := limits_of(request):
            response.headers["RateLimit-Policy"] = ", ".join(
                f'"{limit.policy}";q={limit.quota};w={WINDOW_SECONDS}' for limit in limits
            )
            response.headers["RateLimit"] = ", ".join(
                f'"{limit.policy}";r={limit.remaining};t={limit.resets_in}' for limit in limits
            )
        return response
