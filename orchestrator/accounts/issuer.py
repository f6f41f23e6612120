"""Login at the issuer: exchanges an authorization code for a verified ID token."""

from typing import Any

import structlog
from django.conf import settings

from sessions_app.auth.issuer import (
    InvalidToken,
    Issuer,
    IssuerUnavailable,
    RequestRefused,
    get_issuer,
)

log = structlog.get_logger("orchestrator.accounts")

EXCHANGE_SECONDS = 5
USERINFO_SECONDS = 3
ID_TOKEN_TYPES = frozenset({"jwt", ""})
REQUIRED_ENDPOINTS = ("authorization_endpoint", "token_endpoint")


def get_login_issuer() -> Issuer:
    """The issuer at OIDC_ISSUER_URL."""
    return get_issuer(settings.OIDC_ISSUER_URL)


def is_reachable() -> bool:
    """Whether people can log in at the issuer now."""
    try:
        return all(get_login_issuer().endpoint(name) for name in REQUIRED_ENDPOINTS)
    except IssuerUnavailable:
        return False


def exchange_code(
    code: str, *, verifier: str, redirect_uri: str, nonce: str
) -> tuple[dict[str, Any], str]:
    """Exchange ``code`` for the claims of the ID token and for the access token.

    Raises InvalidToken, IssuerUnavailable.
    """
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "code_verifier": verifier,
        "redirect_uri": redirect_uri,
    }
    credentials = (settings.ADMIN_OIDC_CLIENT_ID, settings.ADMIN_OIDC_CLIENT_SECRET)
    methods = get_login_issuer().metadata().get("token_endpoint_auth_methods_supported")
    # OpenID Connect Discovery: a missing list means client_secret_basic.
    by_header = "client_secret_basic" in (methods or ["client_secret_basic"])
    if not by_header:
        form |= dict(zip(("client_id", "client_secret"), credentials, strict=True))
    try:
        tokens = get_login_issuer().request(
            "POST",
            "token_endpoint",
            seconds=EXCHANGE_SECONDS,
            data=form,
            auth=credentials if by_header else None,
        )
    except RequestRefused as error:
        log.warning("code refused", status=error.status)
        raise InvalidToken("The issuer does not take the code.") from error
    return _verify_id_token(tokens.get("id_token"), nonce), str(tokens.get("access_token") or "")


def fetch_userinfo(access_token: str, subject: str) -> dict[str, Any]:
    """Claims about ``subject`` from the userinfo endpoint; empty if the issuer has none.

    Raises InvalidToken (claims about somebody else), IssuerUnavailable.
    """
    if not get_login_issuer().metadata().get("userinfo_endpoint"):
        return {}
    bearer = {"Authorization": f"Bearer {access_token}"}
    try:
        claims = get_login_issuer().request(
            "GET", "userinfo_endpoint", seconds=USERINFO_SECONDS, headers=bearer
        )
    except RequestRefused as error:
        raise IssuerUnavailable(str(error)) from error
    if claims.get("sub") != subject:
        raise InvalidToken("The claims are about somebody else.")
    return claims


def _verify_id_token(id_token: Any, nonce: str) -> dict[str, Any]:
    """Verify ``id_token`` for this login (OpenID Connect Core 1.0, section 3.1.3.7).

    Raises InvalidToken, IssuerUnavailable.
    """
    if not isinstance(id_token, str):
        raise InvalidToken("There is no ID token in the answer.")
    ours = settings.ADMIN_OIDC_CLIENT_ID
    required = ("iat", "sub", "nonce")
    token = get_login_issuer().verify(
        id_token, audience=ours, types=ID_TOKEN_TYPES, required=required
    )
    claims = token.claims
    # A token for several audiences must name us as the party that it was issued to.
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    # Ties the token to this browser's attempt, so that a stolen one can't be replayed.
    if claims["nonce"] != nonce:
        raise InvalidToken("The nonce is of another sign-in.")
    if claims.get("azp", ours) != ours or (several and "azp" not in claims):
        raise InvalidToken("The token was issued to another client.")
    if not isinstance(claims["sub"], str) or not claims["sub"]:
        raise InvalidToken("The token names nobody.")
    return claims
