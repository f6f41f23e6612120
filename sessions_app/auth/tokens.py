"""Bearer JWTs of the configured issuer, and what their claims say of the bearer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from rest_framework.exceptions import ValidationError

from audit_app.http.serializers import NameField
from sessions_app.auth.issuer import InvalidToken, get_issuer
from sessions_app.models import ROLE_LENGTH

MAX_SUBJECT_LENGTH = 255


@dataclass(frozen=True, slots=True)
class Bearer:
    """The bearer of a verified token, read from the claims that the settings name.

    ``roles`` is None if OIDC_ROLES_CLAIM is not set. ``name`` would be a new agent's name, and
    ``owner`` its owner's username: empty if OIDC_OWNER_CLAIM is not set, None if the token has no
    valid one.
    """

    subject: str
    roles: tuple[str, ...] | None
    name: str
    owner: str | None
    claims: Mapping[str, Any]


def verify_bearer(token: str) -> Bearer:
    """Verify a token of the configured issuer for our audience.

    Raises InvalidToken (also if no issuer is configured), IssuerUnavailable.
    """
    if not (settings.OIDC_AUDIENCE and settings.OIDC_ISSUER_URL):
        raise InvalidToken("This bearer token is not an API key, and no issuer is configured.")
    claims = get_issuer(settings.OIDC_ISSUER_URL).verify(token, audience=settings.OIDC_AUDIENCE)
    subject = get_claim(claims, settings.OIDC_SUBJECT_CLAIM)
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_LENGTH:
        raise InvalidToken("The token's subject is not a name.")
    if not subject.isprintable():
        raise InvalidToken("The token's subject is not a name.")
    return Bearer(subject, _roles(claims), _name(claims, subject), _owner(claims), claims)


def get_claim(claims: Mapping[str, Any], path: str) -> Any:
    """The claim called ``path``, else the one it leads to dot by dot; None if there is none."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for name in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def is_name(text: Any) -> bool:
    """Whether ``text`` may be the name of an agent or a role: the rule of the API's fields."""
    try:
        NameField(max_length=ROLE_LENGTH).run_validation(text)
    except ValidationError:
        return False
    return True


def _roles(claims: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The token's valid role names, in its order; None if OIDC_ROLES_CLAIM is not set."""
    # Anything else in the claim is ignored, not refused: an issuer's roles are for many servers.
    if not settings.OIDC_ROLES_CLAIM:
        return None
    roles = get_claim(claims, settings.OIDC_ROLES_CLAIM)
    values = roles.split() if isinstance(roles, str) else roles if isinstance(roles, list) else []
    prefix = settings.OIDC_ROLES_PREFIX
    ours = (v.removeprefix(prefix) for v in values if isinstance(v, str) and v.startswith(prefix))
    return tuple(dict.fromkeys(role for role in ours if is_name(role)))


def _name(claims: Mapping[str, Any], subject: str) -> str:
    candidates: tuple[Any, ...] = (
        get_claim(claims, settings.OIDC_NAME_CLAIM),
        claims.get("azp"),
        subject,
    )
    return next((name for name in candidates if is_name(name)), "agent")


def _owner(claims: Mapping[str, Any]) -> str | None:
    if not settings.OIDC_OWNER_CLAIM:
        return ""
    owner: Any = get_claim(claims, settings.OIDC_OWNER_CLAIM)
    return owner if is_name(owner) else None
