"""Lockout after too many wrong passwords, per username and client address.

django-axes counts in the database, across all processes. Someone who guesses locks out themselves
and not the person whose name they use. Known and unknown names are treated alike.
"""

import math
from datetime import timedelta
from typing import Any

import structlog
from axes.backends import AxesStandaloneBackend
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.signals import user_login_failed
from django.db.models import Max
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from audit_app.base import tracing
from orchestrator.web.client_ip import client_address, counted_address

log = structlog.get_logger("orchestrator.accounts")

CLOCK_SKEW = timedelta(minutes=1)
"""How much later than this server's the clock of another may be."""


class LockoutBackend(AxesStandaloneBackend):  # type: ignore[misc]  # untyped library
    """Refuses locked-out clients before the other backends are asked."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> None:
        # Commands on this host authenticate without a request and are never locked out.
        if request is not None:
            # A clock that ran ahead left attempts that would lock out until their time has come.
            AccessAttempt.objects.filter(attempt_time__gt=timezone.now() + CLOCK_SKEW).delete()
            super().authenticate(request, username, password, **kwargs)


def respond_locked_out(
    request: HttpRequest, response: HttpResponse | None, credentials: Any
) -> HttpResponse:
    """The page for a locked-out client: 429 with Retry-After (AXES_LOCKOUT_CALLABLE)."""
    seconds = _seconds_left(request, (credentials or {}).get("username"))
    page = {
        **admin.site.each_context(request),
        "title": "Too many attempts",
        "minutes": math.ceil(seconds / 60),
        "trace_id": tracing.current.get(None),
    }
    answer = render(request, "signin/locked_out.html", page, status=429)
    answer.headers["Retry-After"] = str(seconds)
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _seconds_left(request: HttpRequest, username: str | None) -> int:
    attempts = AccessAttempt.objects.filter(
        username=username, ip_address=counted_address(request)
    ).aggregate(last=Max("attempt_time"))
    # The row may be gone: an administrator can reset it at the same moment.
    since = timezone.now() - (attempts["last"] or timezone.now())
    return max(1, math.ceil((settings.LOGIN_LOCKOUT - since).total_seconds()))


def connect() -> None:
    """Log failed logins from now on."""
    user_login_failed.connect(_log_failure, dispatch_uid="orchestrator.accounts.lockout")


def _log_failure(
    sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any
) -> None:
    # Django has removed the password from ``credentials``; we log only the name all the same.
    log.warning(
        "sign-in failed",
        username=str(credentials.get("username"))[:150],
        address=client_address(request) if request else None,
        locked_out=bool(getattr(request, "axes_locked_out", False)),
    )
