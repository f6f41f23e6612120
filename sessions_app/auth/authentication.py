"""Authentication of API requests: bearer tokens (API keys and JWTs) and admin sessions."""

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
from audit_app.base.errors import NotFound
from audit_app.base.prepared import Prepared
from audit_app.live.long_poll import get_resumption
from sessions_app import agents
from sessions_app.api_keys import PREFIX, hash_of
from sessions_app.auth import tokens
from sessions_app.auth.issuer import (
    MAX_TOKEN_LENGTH,
    RETRY_SECONDS,
    InvalidToken,
    IssuerUnavailable,
)
from sessions_app.auth.key_cache import key_cache
from sessions_app.models import Agent, AgentKey

LAST_USED_PRECISION = timedelta(minutes=1)
CHALLENGE = 'Bearer realm="orchestrator"'


class IssuerAway(AuthenticationFailed):
    """The token can't be verified now: 503, so that the client tries again."""

    status_code = 503
    default_detail = "The issuer of this token can't be reached to check it; try again in a moment."
    default_code = "issuer_unavailable"
    wait = RETRY_SECONDS


class BearerAuthentication(BaseAuthentication):
    """``Authorization: Bearer`` with an agent's API key or a JWT of the configured issuer."""

    def authenticate(self, request: Request) -> tuple[Actor, str] | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        token = token.strip()
        try:
            kind = "key" if token.startswith(PREFIX) else "jwt"
            # A long poll may be woken by the revocation of its own key, and the trail may tell of
            # that before the notification arrives that empties the cache.
            use_cache = get_resumption(request._request) is None
            actor = (
                _authenticate_key(token, use_cache=use_cache)
                if kind == "key"
                else _authenticate_jwt(token)
            )
        except IssuerAway:
            raise
        except AuthenticationFailed:
            request._request.token_refused = True  # type: ignore[attr-defined]  # see authenticate_header
            raise
        _set_log_name(request, str(actor))
        return actor, kind

    def authenticate_header(self, request: Request) -> str:
        """RFC 6750: name the error only if a token was given and refused."""
        refused = getattr(request._request, "token_refused", False)
        return f'{CHALLENGE}, error="invalid_token"' if refused else CHALLENGE


class CookieAuthentication(SessionAuthentication):
    """A person's admin session; unsafe methods also need the CSRF token."""

    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        result = super().authenticate(request)
        if result:
            _set_log_name(request, f"human:{result[0].get_username()}")
        return result


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


def _set_log_name(request: Request, actor: str) -> None:
    """Put the caller into the request's log line."""
    request._request.actor_name = actor  # type: ignore[attr-defined]


def _select_live(hash: str) -> Any:
    is_live = Q(revoked_at__isnull=True) | Q(revoked_at__gt=Now())
    keys = AgentKey.objects.filter(is_live, hash=hash, agent__status=Agent.Status.ACTIVE)
    return keys.select_related("agent").order_by()


_live_keys: Prepared[AgentKey] = Prepared(_select_live)


def _authenticate_key(token: str, *, use_cache: bool) -> Actor:
    """The agent that an API key belongs to. Raises AuthenticationFailed."""
    if len(token) > MAX_TOKEN_LENGTH:
        raise AuthenticationFailed("This API key is unknown or revoked.", code="invalid_key")
    hash = hash_of(token)
    if use_cache and (cached := key_cache.get(hash)):
        return cached
    # Read before the lookup: a change in between makes ``put`` discard the result.
    generation = key_cache.generation
    keys = _live_keys(hash=hash)
    if not keys:
        raise AuthenticationFailed("This API key is unknown or revoked.", code="invalid_key")
    key = keys[0]
    if key.last_used_at is None or timezone.now() - key.last_used_at > LAST_USED_PRECISION:
        AgentKey.objects.filter(pk=key.pk).update(last_used_at=Now())
    actor = key.agent.as_actor()
    if key.revoked_at is None:  # a rotated key ends at a set time, without a notification
        key_cache.put(hash, actor, generation=generation)
    return actor


def _authenticate_jwt(token: str) -> Actor:
    """The agent with the token's subject, else the person linked to its ``sub``.

    With OIDC_PROVISION_AGENTS, an unknown subject becomes an agent. Raises AuthenticationFailed.
    """
    try:
        bearer = tokens.verify_bearer(token)
    except InvalidToken as error:
        raise AuthenticationFailed(str(error), code="invalid_token") from error
    except IssuerUnavailable as error:
        raise IssuerAway from error
    # Agents first, so that no agent's token is ever taken for a person's.
    agent = Agent.objects.filter(subject=bearer.subject).first()
    if agent is None:
        if user := _find_person(bearer.claims):
            return _as_actor(user, bearer)
        agent = _provision(bearer)
    if agent.status != Agent.Status.ACTIVE:
        raise _unknown_subject("The agent of this token's subject is revoked.")
    actor = agent.as_actor()
    return actor if bearer.roles is None else replace(actor, roles=bearer.roles)


def _find_person(claims: Mapping[str, Any]) -> User | None:
    """The person linked to the issuer's ``sub``, unless the token is a client's own."""
    # Never looked up by username: whoever registers a client may choose its name.
    subject = claims.get("sub")
    if not isinstance(subject, str) or _is_client_token(claims):
        return None
    linked = Q(identity__issuer=settings.OIDC_ISSUER_URL, identity__subject=subject)
    return User.objects.filter(linked).first()


def _is_client_token(claims: Mapping[str, Any]) -> bool:
    """Whether a token was issued to a client itself, without a person (RFC 9068, section 2.2)."""
    # Most issuers then name the client as the subject. Auth0 sets gty, Entra ID sets idtyp.
    if claims.get("gty") == "client-credentials" or claims.get("idtyp") == "app":
        return True
    return claims["sub"] in (claims.get("client_id"), claims.get("azp"), claims.get("cid"))


def _as_actor(user: User, bearer: tokens.Bearer) -> Actor:
    """A person as an actor, with their groups here: tokens give roles to agents only."""
    if not user.is_active:
        raise _unknown_subject("The person of this token's subject is not active here.")
    user.assurance = Assurance.from_claims(bearer.claims)  # type: ignore[attr-defined]  # see Actor.human
    return Actor.human(user)


def _provision(bearer: tokens.Bearer) -> Agent:
    """Create the agent of an unknown subject. Raises AuthenticationFailed."""
    if not settings.OIDC_PROVISION_AGENTS or _names_a_person(bearer):
        raise _unknown_subject("The token's subject is nobody here.")
    if not bearer.roles:
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
            roles=list(bearer.roles),
            owner=bearer.owner,
        )
    except NotFound as error:
        raise _unknown_subject(
            "The token's subject is nobody here, and neither is its owner."
        ) from error


def _names_a_person(bearer: tokens.Bearer) -> bool:
    """Whether the token carries the username of one of our people."""
    # An agent without an owner would let such a person approve what they asked for themselves.
    username = tokens.get_claim(bearer.claims, settings.ADMIN_OIDC_USERNAME_CLAIM)
    return tokens.is_name(username) and User.objects.filter(username=username).exists()


def _unknown_subject(detail: str) -> AuthenticationFailed:
    return AuthenticationFailed(detail, code="unknown_subject")
