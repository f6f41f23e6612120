"""/health and /status: whether the database answers, and whether the process does."""

from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from orchestrator import __version__
from orchestrator.api.problems import RETRY_AFTER_SECONDS


@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """200 where the database answers, 503 where it does not."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        body = {"status": "unavailable", "version": __version__, "database": "unavailable"}
        return JsonResponse(body, status=503, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
    return JsonResponse({"status": "ok", "version": __version__, "database": "ok"})


@require_safe
def status(request: HttpRequest) -> JsonResponse:
    """200 as long as the process answers; the database is not asked."""
    return JsonResponse({"status": "ok", "version": __version__, "database": "not asked"})
