"""Who is calling: a bearer token (API key or OIDC JWT) or an admin session, as an Actor."""

from collections.abc import Mapping
from dataclasses import replace
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

from audit_app.base.actors import Actor, Assurance
from audit_app.base.canonical import digest
from audit_app.base.errors import NotFound
from audit_app.base.prepared import Prepared
from audit_app.live import long_poll
from sessions_app import agents
from sessions_app.api_keys import PREFIX
from sessions_app.auth import tokens
from sessions_app.auth.issuer import (
    MAX_TOKEN_LENGTH,
    InvalidToken,
    IssuerMisconfigured,
    IssuerUnavailable,
)
from sessions_app.auth.key_cache import key_cache
from sessions_app.auth.roles import keep_known_roles
from sessions_app.models import Agent, AgentKey

LAST_USED_PRECISION = timedelta(minutes=1)
CHALLENGE = 'Bearer realm="orchestrator"'


class IssuerAway(AuthenticationFailed):
    """Nobody can tell now whether the token is good: 503, so that its bearer tries again."""

    status_code = 503
    default_detail = "The issuer of this token can't be reached to check it; try again in a moment."
    default_code = "issuer_unavailable"
    misconfigured = (
        "This server's setting OIDC_ISSUER_URL is wrong, so it can check no token: tell its "
        "operator, who runs manage.py check_issuer."
    )

    def __init__(self, error: IssuerUnavailable) -> None:
        wrong_setting = isinstance(error, IssuerMisconfigured)
        super().__init__(self.misconfigured if wrong_setting else None)
        self.wait = error.retry_after


class BearerAuthentication(BaseAuthentication):
    """``Authorization: Bearer`` with an agent's API key, or a JWT of the configured issuer."""

    def authenticate(self, request: Request) -> tuple[Actor, str] | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        token = token.strip()
        try:
            kind = "key" if token.startswith(PREFIX) else "jwt"
            # What wakes a held request may be the revocation of its key, which the trail can tell
            # before the notice does that empties the cache.
            use_cache = request._request.META.get(long_poll.ENVIRON_KEY) is None
            actor = (
                _authenticate_key(token, use_cache=use_cache)
                if kind == "key"
                else _authenticate_jwt(token)
            )
        except IssuerAway:
            raise
        except AuthenticationFailed:
            request._request.token_refused = True  # type: ignore[attr-defined]  # told in the header
            raise
        request._request.actor_name = str(actor)  # type: ignore[attr-defined]  # for the log line
        return actor, kind

    def authenticate_header(self, request: Request) -> str:
        """RFC 6750: the error is named only where a token was given, and is to blame."""
        refused = getattr(request._request, "token_refused", False)
        return f'{CHALLENGE}, error="invalid_token"' if refused else CHALLENGE


class CookieAuthentication(SessionAuthentication):
    """A person's admin session; what changes something needs the CSRF token as well."""

    def authenticate(self, request: Request) -> tuple[Actor, None] | None:
        found = super().authenticate(request)
        if found is None:
            return None
        actor = Actor.human(found[0])
        request._request.actor_name = str(actor)  # type: ignore[attr-defined]  # for the log line
        return actor, None


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


def _find_live_keys(hash: str) -> Any:
    live = Q(revoked_at__isnull=True) | Q(revoked_at__gt=Now())
    keys = AgentKey.objects.filter(live, hash=hash, agent__status=Agent.Status.ACTIVE)
    return keys.select_related("agent").order_by()


_live_keys: Prepared[AgentKey] = Prepared(_find_live_keys)


def _authenticate_key(token: str, *, use_cache: bool) -> Actor:
    """The agent whose key it is. Raises AuthenticationFailed."""
    if len(token) > MAX_TOKEN_LENGTH:
        raise AuthenticationFailed("This API key is unknown or revoked.", code="invalid_key")
    hash = digest(token)
    if use_cache and (known := key_cache.get(hash)):
        return known
    generation = key_cache.generation
    found = _live_keys(hash=hash)
    if not found:
        raise AuthenticationFailed("This API key is unknown or revoked.", code="invalid_key")
    key = found[0]
    if key.last_used_at is None or timezone.now() - key.last_used_at > LAST_USED_PRECISION:
        AgentKey.objects.filter(pk=key.pk).update(last_used_at=Now())
    actor = key.agent.as_actor()
    if key.revoked_at is None:  # a rotated key ends by the clock, which notifies nobody
        key_cache.put(hash, actor, generation=generation)
    return actor


def _authenticate_jwt(token: str) -> Actor:
    """The agent whose ``subject`` is the token's, else the person linked to its ``sub``.

    An agent comes first, so that no agent's token is ever taken for a person's. Somebody unknown
    becomes an agent where OIDC_PROVISION_AGENTS allows it.
    """
    try:
        bearer = tokens.verify_bearer(token)
    except InvalidToken as error:
        raise AuthenticationFailed(str(error), code="invalid_token") from error
    except IssuerUnavailable as error:
        raise IssuerAway(error) from error
    agent = Agent.objects.filter(subject=bearer.subject).first()
    if agent is None:
        if user := _find_person(bearer.claims):
            return _as_actor(user, bearer)
        agent = _provision_agent(bearer)
    if agent.status != Agent.Status.ACTIVE:
        raise _unknown_subject("The agent of this token's subject is revoked.")
    actor = agent.as_actor()
    if bearer.roles is None:
        return actor
    return replace(actor, roles=keep_known_roles(bearer.roles, agent.roles))


def _find_person(claims: Mapping[str, Any]) -> User | None:
    """The person linked to the issuer's ``sub``, unless the token is a client's own.

    Never the person whose username it is: whoever registers a client may choose its name.
    """
    subject = claims.get("sub")
    if not isinstance(subject, str) or _is_client_token(claims):
        return None
    linked = Q(identity__issuer=settings.OIDC_ISSUER_URL, identity__subject=subject)
    return User.objects.filter(linked).first()


def _is_client_token(claims: Mapping[str, Any]) -> bool:
    """Whether no person stands behind a token (client credentials; RFC 9068, section 2.2).

    Most issuers name the client as the subject then; Auth0 and Entra ID say it in ``gty`` and
    ``idtyp``.
    """
    if claims.get("gty") == "client-credentials" or claims.get("idtyp") == "app":
        return True
    return claims["sub"] in (claims.get("client_id"), claims.get("azp"), claims.get("cid"))


def _as_actor(user: User, bearer: tokens.Bearer) -> Actor:
    """A person, in the groups that they have here: a token gives roles to agents alone."""
    if not user.is_active:
        raise _unknown_subject("The person of this token's subject is not active here.")
    user.assurance = Assurance.from_claims(bearer.claims)  # type: ignore[attr-defined]  # see Actor.human
    return Actor.human(user)


def _provision_agent(bearer: tokens.Bearer) -> Agent:
    if not settings.OIDC_PROVISION_AGENTS or _names_a_person(bearer):
        raise _unknown_subject("The token's subject is nobody here.")
    roles = keep_known_roles(bearer.roles or (), ())
    if not roles:
        raise _unknown_subject(
            "The token's subject is nobody here, and its roles give it none to begin in."
        )
    if bearer.owner is None:
        raise _unknown_subject("The token's subject is nobody here, and names no owner.")
    try:
        return agents.provision_agent(
            bearer.subject,
            by=Actor.system("oidc"),
            name=bearer.name,
            roles=list(roles),
            owner=bearer.owner,
        )
    except NotFound as error:
        raise _unknown_subject(
            "The token's subject is nobody here, and neither is its owner."
        ) from error


def _names_a_person(bearer: tokens.Bearer) -> bool:
    """Whether the token names somebody of ours as a person, though not by its subject: an agent
    nobody owns would let its bearer approve what they asked for themselves."""
    username = tokens.get_claim(bearer.claims, settings.ADMIN_OIDC_USERNAME_CLAIM)
    return tokens.is_name(username) and User.objects.filter(username=username).exists()


def _unknown_subject(detail: str) -> AuthenticationFailed:
    return AuthenticationFailed(detail, code="unknown_subject")
