"""The one way in, whatever the first proof was: what is still missing is asked for next."""

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from audit_app.base.actors import Assurance
from orchestrator.accounts import sessions, two_factor


def log_in(
    request: HttpRequest, user: User, assurance: Assurance, *, backend: str, destination: str
) -> HttpResponse:
    """Sign ``user`` in, or set them aside until they have given a second factor."""
    if _needs_second_factor(request, user, assurance):
        sessions.set_pending(request, sessions.PendingLogin(user, assurance, backend, destination))
        return redirect("signin:code" if two_factor.is_enrolled(user) else "signin:second_factor")
    sessions.start(request, user, assurance, backend=backend)
    return redirect(destination)


def _needs_second_factor(request: HttpRequest, user: User, assurance: Assurance) -> bool:
    """Whoever set an authenticator up is asked for its code after their password; the issuer has
    its own rules, and is only doubted where a second factor is always demanded."""
    if assurance.second_factor or _has_given_second_factor(request, user):
        return False
    if settings.REQUIRE_SECOND_FACTOR == "always":
        return True
    return assurance.authenticated_by == "password" and two_factor.is_enrolled(user)


def _has_given_second_factor(request: HttpRequest, user: User) -> bool:
    known: Assurance | None = getattr(request.user, "assurance", None)
    return request.user.pk == user.pk and known is not None and known.second_factor
