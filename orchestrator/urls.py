"""All URLs. The API has no trailing slashes; the admin has them, like Django's."""

from datetime import timedelta

from django.conf import settings
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.urls import include, path
from django.utils import timezone
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView
from rest_framework.routers import SimpleRouter

from approvals_app.notifications.views import service_worker
from audit_app.proof.jwks import jwks
from orchestrator.gateway.http import Gateway
from orchestrator.hooks.views import ClaudeCode
from orchestrator.mcp.http import Mcp
from orchestrator.ops import health
from orchestrator.ops.metrics import metrics
from orchestrator.web.event_stream import EventStreamViewSet


def not_found(request: HttpRequest, **_: str) -> HttpResponse:
    """Hide URLs of the admin that we do not use and that answer with errors."""
    raise Http404


def icon(request: HttpRequest) -> HttpResponse:
    """Redirect browsers that look for the icon at its default place."""
    return redirect(static("orchestrator/icon.svg"))


def security_txt(request: HttpRequest) -> HttpResponse:
    """Where to report vulnerabilities (RFC 9116): SECURITY_CONTACT, valid for a year from today."""
    if not settings.SECURITY_CONTACT:
        raise Http404
    expires = timezone.now().replace(microsecond=0) + timedelta(days=365)
    lines = (f"Contact: {settings.SECURITY_CONTACT}", f"Expires: {expires.isoformat()}")
    return HttpResponse("\n".join((*lines, "Preferred-Languages: en", "")), "text/plain")


router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("events", EventStreamViewSet, basename="event-stream")
urlpatterns = [
    path("", include("sessions_app.urls")),
    path("", include("approvals_app.urls")),
    path("", include("audit_app.urls")),
    path("", include(router.urls)),
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/r/<path:rest>", not_found),
    path("admin/search/", not_found),
    path("admin/sw.js", service_worker, name="service-worker"),
    path("admin/", include("orchestrator.accounts.urls")),
    path("admin/", include("approvals_app.review.inbox_views")),
    path("admin/", include("approvals_app.review.policy_views")),
    path("admin/", admin.site.urls),
    path(".well-known/jwks.json", jwks, name="jwks"),
    path(".well-known/security.txt", security_txt),
    path("favicon.ico", icon),
    path("health", health.Health.as_view(), name="health"),
    path("gateway/<str:name>/mcp", Gateway.as_view(), name="gateway"),
    path("hooks/claude-code", ClaudeCode.as_view(), name="hooks-claude-code"),
    path("mcp", Mcp.as_view(), name="mcp"),
    path("metrics", metrics, name="metrics"),
    path("status", health.Status.as_view(), name="status"),
    path("schema", SpectacularJSONAPIView.as_view(), name="schema"),
    path(
        "docs",
        SpectacularSwaggerSplitView.as_view(
            url_name="schema", template_name="orchestrator/docs.html"
        ),
        name="docs",
    ),
]

handler400 = "orchestrator.web.problems.bad_request"
handler403 = "orchestrator.web.problems.permission_denied"
handler404 = "orchestrator.web.problems.page_not_found"
handler500 = "orchestrator.web.problems.server_error"
