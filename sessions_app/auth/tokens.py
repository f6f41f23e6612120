"""What a bearer JWT of the configured issuer says of its bearer."""

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
    """Who a verified token says that its bearer is, read as the settings tell.

    ``roles`` is None where OIDC_ROLES_CLAIM is not set: then the issuer says nothing of roles.
    ``name`` is what a new agent would be called, and ``owner`` the username of its owner, empty
    where OIDC_OWNER_CLAIM is not set and None where it is and the token has no such name.
    """

    subject: str
    roles: tuple[str, ...] | None
    name: str
    owner: str | None
    claims: Mapping[str, Any]


def verify_bearer(token: str) -> Bearer:
    """The bearer of a token of the configured issuer for our audience.

    Raises InvalidToken, also when no issuer is configured, and IssuerUnavailable.
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
    """The claim called ``path`` as it stands, else the one at its end, dot by dot; None if none."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found


def is_name(text: Any) -> bool:
    """Whether ``text`` may be the name of an agent or a role: the rule of the API's fields."""
    try:
        NameField(max_length=ROLE_LENGTH).run_validation(text)
    except ValidationError:
        return False
    return True


def _roles(claims: Mapping[str, Any]) -> tuple[str, ...] | None:
    """What the token says of roles that can be one, in its order. Anything else in the claim, or
    another kind of claim, gives none: an issuer's roles are for many servers."""
    if not settings.OIDC_ROLES_CLAIM:
        return None
    given = get_claim(claims, settings.OIDC_ROLES_CLAIM)
    values = given.split() if isinstance(given, str) else given if isinstance(given, list) else []
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
