"""Bearer JWTs of the configured issuer, and what their claims say of the bearer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from rest_framework.exceptions import ValidationError

from audit_app.http.serializers import NameField
from sessions_app.auth.issuer import InvalidToken, VerifiedToken, get_issuer
from sessions_app.auth.roles import map_roles
from sessions_app.models import ROLE_LENGTH

MAX_SUBJECT_LENGTH = 255
ACCESS_TOKEN = "at+jwt"  # noqa: S105  # a type's name
ACCESS_TOKEN_TYPES = frozenset({ACCESS_TOKEN, "jwt", ""})
"""RFC 9068 demands ``at+jwt``; many issuers still send ``JWT``, or no type."""

ID_TOKEN_CLAIMS = frozenset({"nonce", "at_hash", "c_hash", "s_hash"})


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
    verified = get_issuer(settings.OIDC_ISSUER_URL).verify(
        token, audience=settings.OIDC_AUDIENCE, types=ACCESS_TOKEN_TYPES
    )
    claims = verified.claims
    _require_bearer(verified)
    subject = get_claim(claims, settings.OIDC_SUBJECT_CLAIM)
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_LENGTH:
        raise InvalidToken("The token's subject is not a name.")
    if not subject.isprintable():
        raise InvalidToken("The token's subject is not a name.")
    return Bearer(subject, _roles(claims), _name(claims, subject), _owner(claims), claims)


def _require_bearer(token: VerifiedToken) -> None:
    """Refuse what an issuer signs for other ends than to be presented here. Raises InvalidToken."""
    claims = token.claims
    if "cnf" in claims:
        # Whoever stole it would get through if no proof were asked for (RFC 9449, section 7.2).
        raise InvalidToken("The token is bound to a key (cnf), and this server takes no proof.")
    if "events" in claims:
        raise InvalidToken("The token reports an event; it gives nobody access.")
    # A token without ``at+jwt`` may be anything: Keycloak and Cognito say in a claim what it is.
    purposes = [claims[name] for name in ("typ", "token_use") if name in claims]
    says_access = token.type == ACCESS_TOKEN or bool(purposes)
    if any(purpose not in ("Bearer", "access") for purpose in purposes) or (
        not says_access and ID_TOKEN_CLAIMS & claims.keys()
    ):
        raise InvalidToken("The token is no access token.")


def get_claim(claims: Mapping[str, Any], path: str) -> Any:
    """The claim called ``path``, else the one it leads to dot by dot; None if there is none.

    Names on the way may have dots themselves: ``resource_access.my.client.roles`` is found in
    ``{"resource_access": {"my.client": {"roles": []}}}``.
    """
    if path in claims:
        return claims[path]
    for name, value in claims.items():
        if isinstance(value, Mapping) and path.startswith(f"{name}."):
            found = get_claim(value, path[len(name) + 1 :])
            if found is not None:
                return found
    return None


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
    ours = map_roles(values, settings.OIDC_ROLES_PREFIX, settings.OIDC_ROLES_MAP)
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
