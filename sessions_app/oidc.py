"""Bearer JWTs of the configured OpenID Connect issuer (OIDC Discovery 1.0, RFC 7519)."""

import json
import urllib.request
from functools import lru_cache
from typing import Any

import jwt
from django.conf import settings

ALGORITHMS = ["RS256", "ES256", "EdDSA"]
LEEWAY_SECONDS = 30
TIMEOUT_SECONDS = 2


class InvalidToken(Exception):
    """The token is not one that this server accepts."""


def verified_subject(token: str) -> str:
    """The ``sub`` of a token of the configured issuer for our audience.

    Raises InvalidToken, also when no issuer is configured or its keys can't be had.
    """
    if not settings.OIDC_ISSUER_URL:
        raise InvalidToken("This bearer token is not an API key, and no issuer is configured.")
    try:
        key = _keys(settings.OIDC_ISSUER_URL).get_signing_key_from_jwt(token)
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=ALGORITHMS,
            audience=settings.OIDC_AUDIENCE,
            issuer=settings.OIDC_ISSUER_URL,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
    except (jwt.PyJWTError, OSError, ValueError, KeyError) as error:
        raise InvalidToken(f"The token is not accepted: {error}") from error
    subject: str = claims["sub"]
    if not subject or not subject.isprintable():
        raise InvalidToken("The token's subject is not a name.")
    return subject


@lru_cache(maxsize=1)
def _keys(issuer: str) -> jwt.PyJWKClient:
    """The issuer's keys, found by discovery; the client keeps them and fetches an unknown kid."""
    discovery = issuer.rstrip("/") + "/.well-known/openid-configuration"
    with urllib.request.urlopen(discovery, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310  # the operator's own URL
        configuration = json.load(answer)
    if configuration.get("issuer") != issuer:
        raise ValueError("the issuer's discovery document names another issuer.")
    return jwt.PyJWKClient(configuration["jwks_uri"], timeout=TIMEOUT_SECONDS)
