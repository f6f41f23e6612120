"""Who is calling: a bearer token (API key or OIDC JWT) or an admin session, as an Actor."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from audit_app.actors import Actor
from sessions_app import oidc
from sessions_app.keys import MARK, hash_of
from sessions_app.models import Agent, AgentKey

LAST_USED_PRECISION = timedelta(minutes=1)


class BearerAuthentication(BaseAuthentication):
    """``Authorization: Bearer`` with an agent's API key, or a JWT of the configured issuer."""

    def authenticate(self, request: Request) -> tuple[Actor, str] | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        token = token.strip()
        actor = _by_key(token) if token.startswith(MARK) else _by_jwt(token)
        _name(request, str(actor))
        return actor, "bearer"

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="orchestrator"'


class CookieAuthentication(SessionAuthentication):
    """A person's admin session; what changes something needs the CSRF token as well."""

    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        found = super().authenticate(request)
        if found:
            _name(request, f"human:{found[0].get_username()}")
        return found


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = BearerAuthentication
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An API key or a JWT."}


class CookieScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = CookieAuthentication
    name = "cookie"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}


def _name(request: Request, actor: str) -> None:
    """Tell the request's log line who called."""
    request._request.actor_name = actor  # type: ignore[attr-defined]


def _by_key(token: str) -> Actor:
    live = Q(revoked_at__isnull=True) | Q(revoked_at__gt=Now())
    key = (
        AgentKey.objects.filter(live, hash=hash_of(token), agent__status=Agent.Status.ACTIVE)
        .select_related("agent")
        .first()
    )
    if key is None:
        raise AuthenticationFailed("This API key is unknown or revoked.", code="invalid_key")
    if key.last_used_at is None or timezone.now() - key.last_used_at > LAST_USED_PRECISION:
        AgentKey.objects.filter(pk=key.pk).update(last_used_at=Now())
    return key.agent.as_actor()


def _by_jwt(token: str) -> Actor:
    """The agent whose ``subject``, else the person whose username, is the token's ``sub``.

    An agent comes first, so that no agent's token is ever taken for a person's.
    """
    try:
        subject = oidc.verified_subject(token)
    except oidc.InvalidToken as error:
        raise AuthenticationFailed(str(error), code="invalid_token") from error
    if agent := Agent.objects.filter(subject=subject).first():
        if agent.status == Agent.Status.ACTIVE:
            return agent.as_actor()
    elif user := User.objects.filter(username=subject, is_active=True).first():
        return Actor.human(user)
    raise AuthenticationFailed("The token's subject is nobody here.", code="unknown_subject")
