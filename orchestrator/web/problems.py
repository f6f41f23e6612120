"""Every error as RFC 9457 ``application/problem+json``, with a stable ``code``.

    {"type": "urn:orchestrator:problem:approval_expired", "title": "Conflict", "status": 409,
     "detail": "…", "code": "approval_expired", "trace_id": "…",
     "errors": [{"field", "detail", "code"}]}

The data of an error of ours (``state``, ``allowed``, …) come along as further members.
"""

import logging
import sys
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, cast

import orjson
from django.core.exceptions import (
    BadRequest,
    DisallowedHost,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
)
from django.db import DatabaseError, InterfaceError, InternalError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from psycopg import errors as postgres
from rest_framework import exceptions
from rest_framework.views import set_rollback

from audit_app.base import errors, tracing
from audit_app.trail.operation import connection_lost
from orchestrator.web.circuit_breaker import availability, is_pool_full

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2
DATABASE_AWAY = "The database can't be reached. Nothing was lost; try again in a moment."
OVERLOADED = "The server has more to do than it can take. Nothing was done; try again in a moment."

STATUS_OF = (
    (errors.Invalid, 400),
    (errors.Forbidden, 403),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.Gone, 410),
    (errors.PreconditionFailed, 412),
    (errors.Unprocessable, 422),
)
CODE_OF_STATUS = {
    400: "invalid_request",
    401: "not_authenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    408: "request_timeout",
    413: "body_too_large",
    415: "unsupported_media_type",
    429: "throttled",
    500: "internal_error",
    503: "database_unavailable",
}
FIELD_OF_STATUS = {406: "Accept", 413: "body", 415: "Content-Type"}
"""What a status by itself says is not right."""


def problem(
    status: int,
    detail: str,
    *,
    code: str | None = None,
    headers: dict[str, str] | None = None,
    **members: Any,
) -> HttpResponse:
    """One problem as a response. ``code`` is the usual one of ``status`` unless given."""
    code = code or CODE_OF_STATUS[status]
    trace_id = tracing.current.get(None)
    body = {
        "type": f"urn:orchestrator:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "trace_id": str(trace_id) if trace_id else None,
        **members,
    }
    return HttpResponse(
        orjson.dumps(body), status=status, content_type=CONTENT_TYPE, headers=headers
    )


def handler(error: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """DRF's EXCEPTION_HANDLER. None means that nobody foresaw this: Django's 500 follows."""
    set_rollback()
    return response_to(error)


def response_to(error: Exception) -> HttpResponse | None:
    """The problem that tells of ``error``; None for what is nobody's fault but ours."""
    match error:
        case errors.OrchestratorError():
            return _of_ours(error)
        case exceptions.ValidationError():
            fields = list(_field_errors(error.detail))
            first = fields[0]
            return problem(400, f"{first['field']}: {first['detail']}", errors=fields)
        case exceptions.APIException():
            return _of_drf(error)
        case Http404():
            return problem(404, "There is nothing at this URL.")
        case PermissionDenied():
            return problem(403, str(error) or "The caller may not do this.")
        case RequestDataTooBig():
            return problem(413, "The body is larger than this server accepts.")
        case DisallowedHost():
            return problem(400, "The Host header does not name this server.", code="bad_host")
        case TooManyFieldsSent():
            detail = "It has too many parameters."
            fields = [{"field": "query", "detail": detail, "code": "invalid"}]
            return problem(400, f"query: {detail}", errors=fields)
        case BadRequest() | SuspiciousOperation():
            return problem(400, "The request is malformed.")
        case OperationalError() if is_pool_full(error):
            return refuse_overload()
        case DatabaseError() | InterfaceError() if is_away(error):
            logger.error("database unavailable: %s", str(error).strip().splitlines()[:1])
            availability.suspect(error)
            return database_away()
    return None


def database_away() -> HttpResponse:
    return problem(503, DATABASE_AWAY, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def body_timeout() -> HttpResponse:
    return problem(408, "The body stopped arriving.", headers={"Connection": "close"})


def refuse_overload() -> HttpResponse:
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return problem(503, OVERLOADED, code="overloaded", headers=headers)


def is_away(error: BaseException | None) -> bool:
    """Whether ``error`` says that the database can't do its work now: it can't be reached, the
    connection broke, the pool is full, or what answers is a standby that takes no writes (after a
    failover)."""
    match error:
        case OperationalError() | InterfaceError():
            return True
        case InternalError(__cause__=postgres.ReadOnlySqlTransaction()):
            return True
        case InternalError() if connection_lost(error):
            return True
    return False


def _of_ours(error: errors.OrchestratorError) -> HttpResponse:
    status = next(status for kind, status in STATUS_OF if isinstance(error, kind))
    members = dict(error.data)
    if field := members.pop("field", None):
        members["errors"] = [{"field": field, "detail": str(error), "code": error.code}]
    passing = errors.Busy | errors.NotSealedYet | errors.RequestInProgress
    headers = {"Retry-After": "1"} if isinstance(error, passing) else None
    return problem(status, str(error), code=error.code, headers=headers, **members)


def _of_drf(error: exceptions.APIException) -> HttpResponse:
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(int(wait))
    detail = str(error.detail)
    code = CODE_OF_STATUS.get(error.status_code)
    if detail.startswith("CSRF Failed"):
        code = "csrf_failed"
    elif isinstance(error, exceptions.ParseError):
        code = str(getattr(error.detail, "code", "parse_error"))
        if field := getattr(error, "field", None):
            fields = [{"field": field, "detail": detail, "code": code}]
            return problem(400, f"{field}: {detail}", code=code, errors=fields)
    elif isinstance(error, exceptions.AuthenticationFailed):
        code = str(getattr(error.detail, "code", code))
    members = {}
    if field := FIELD_OF_STATUS.get(error.status_code):
        members["errors"] = [{"field": field, "detail": detail, "code": code}]
    return problem(error.status_code, detail, code=code, headers=headers, **members)


def _field_errors(detail: Any, path: str = "") -> Iterator[dict[str, str]]:
    """DRF's nested messages as a flat list of dotted fields."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            here = path if name == "non_field_errors" else f"{path}.{name}".lstrip(".")
            yield from _field_errors(inner, here)
    elif isinstance(detail, list):
        for index, inner in enumerate(detail):
            nested = isinstance(inner, dict | list)
            yield from _field_errors(inner, f"{path}[{index}]" if nested else path)
    else:
        yield {"field": path or "body", "detail": str(detail), "code": str(detail.code)}


def _wants_a_page(request: HttpRequest) -> bool:
    return request.path.startswith("/admin/")


def _as_page(
    request: HttpRequest, response: HttpResponse, title: str, sentence: str, again: str = ""
) -> HttpResponse:
    """``response``, or the same as a page where a person asks."""
    if not _wants_a_page(request):
        return response
    trace_id = tracing.current.get(None)
    page = {"title": title, "sentence": sentence, "again": again, "trace_id": trace_id}
    rendered = render(request, "problem.html", page, status=response.status_code)
    if wait := response.headers.get("Retry-After"):
        rendered.headers["Retry-After"] = wait
    return rendered


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    answer = response_to(exception) or problem(400, "The request is malformed.")
    return _as_page(request, answer, "Bad request", "The request is malformed.")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    sentence = "You may not do this."
    return _as_page(request, problem(403, str(exception) or sentence), "Not allowed", sentence)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    sentence = "Page not found, or you don't have access."
    return _as_page(request, problem(404, "There is nothing at this URL."), "Not found", sentence)


def server_error(request: HttpRequest) -> HttpResponse:
    """Nobody foresaw this, unless a middleware lost the database (the admin's session does)."""
    if is_away(error := sys.exc_info()[1]):
        return unavailable(request, cast("DatabaseError", error))
    sentence = "Something went wrong on the server. It was logged with this trace id."
    return _as_page(request, problem(500, sentence), "Something went wrong", sentence)


def unavailable(request: HttpRequest, error: Exception | None = None) -> HttpResponse:
    """For what fails outside of DRF: the admin shows a page that says so."""
    if is_pool_full(error):
        return _as_page(request, refuse_overload(), "Overloaded", OVERLOADED)
    answer = (response_to(error) if error else None) or database_away()
    return _as_page(request, answer, "Database unavailable", DATABASE_AWAY)


def too_many_requests(request: HttpRequest, seconds: int) -> HttpResponse:
    """Too much was asked from one address; a caller of the API learns of its own limit by DRF."""
    sentence = f"Too many requests came from this address. Try again in {seconds} seconds."
    answer = problem(429, sentence, headers={"Retry-After": str(seconds)})
    return _as_page(request, answer, "Too many requests", sentence)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    sentence = (
        "Nothing was decided or saved. Open the page again; what you wrote about a request is "
        "still there."
    )
    answer = problem(403, reason, code="csrf_failed")
    # By a link: reloading this answer would send the old form again.
    return _as_page(
        request, answer, "Your session expired", sentence, again=request.get_full_path()
    )
