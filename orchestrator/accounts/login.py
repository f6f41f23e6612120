"""Logging in after the first factor, whatever that was."""

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from audit_app.base.actors import Assurance
from orchestrator.accounts import sessions, two_factor


def log_in(
    request: HttpRequest,
    user: User,
    assurance: Assurance,
    *,
    backend: str,
    destination: str,
    device: str = "",
    issuer_login: dict[str, str] | None = None,
) -> HttpResponse:
    """Sign ``user`` in, or keep the login pending until they have given a second factor.

    ``device`` and ``issuer_login``: see ``sessions.start``.
    """
    if _needs_second_factor(request, user, assurance):
        pending = sessions.PendingLogin(user, assurance, backend, destination, issuer_login)
        sessions.set_pending(request, pending)
        return redirect("signin:code" if two_factor.has_any(user) else "signin:second_factor")
    sessions.start(
        request, user, assurance, backend=backend, device=device, issuer_login=issuer_login
    )
    return redirect(destination)


def _needs_second_factor(request: HttpRequest, user: User, assurance: Assurance) -> bool:
    """Whether ``user`` still has to give a second factor."""
    if assurance.second_factor or _has_given_second_factor(request, user):
        return False
    if settings.REQUIRE_SECOND_FACTOR == "always":
        return True
    # The issuer has its own rules for second factors; only a password needs our code.
    return assurance.authenticated_by == "password" and two_factor.has_any(user)


def _has_given_second_factor(request: HttpRequest, user: User) -> bool:
    assurance: Assurance | None = getattr(request.user, "assurance", None)
    return request.user.pk == user.pk and assurance is not None and assurance.second_factor
