"""Login at the issuer: exchanges an authorization code for a verified ID token."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote_plus

import structlog
from django.conf import settings

from sessions_app.auth.issuer import (
    InvalidToken,
    Issuer,
    IssuerMisconfigured,
    IssuerUnavailable,
    RequestRefused,
    get_issuer,
)

log = structlog.get_logger("orchestrator.accounts")

EXCHANGE_SECONDS = 5
USERINFO_SECONDS = 3
ID_TOKEN_TYPES = frozenset({"jwt", ""})
LOGOUT_TOKEN_TYPES = frozenset({"logout+jwt", "jwt", ""})
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
CLIENT_ERRORS = ("invalid_client", "unauthorized_client")
REQUIRED_ENDPOINTS = ("authorization_endpoint", "token_endpoint")


NOT_REACHABLE = "Single sign-on is unavailable. Your account is fine; try again later."
MISCONFIGURED = (
    "Single sign-on is unavailable: this site names the wrong issuer. Your account is fine; tell "
    "the site's operator, who runs manage.py check_issuer."
)


@dataclass(frozen=True, slots=True)
class LogoutToken:
    """Who logged out at the issuer, or of which login there; "" if it does not say."""

    subject: str
    sid: str


class ClientRefused(Exception):
    """The issuer does not accept our client id or secret, or does not allow us this flow."""


def get_login_issuer() -> Issuer:
    """The issuer at OIDC_ISSUER_URL."""
    return get_issuer(settings.OIDC_ISSUER_URL)


def find_outage() -> str:
    """Why nobody can log in at the issuer now; "" if people can."""
    try:
        for name in REQUIRED_ENDPOINTS:
            get_login_issuer().endpoint(name)
    except IssuerUnavailable as error:
        return describe_outage(error)
    return ""


def describe_outage(error: IssuerUnavailable) -> str:
    """The sentence for people who can't log in."""
    return MISCONFIGURED if isinstance(error, IssuerMisconfigured) else NOT_REACHABLE


def exchange_code(
    code: str, *, verifier: str, redirect_uri: str, nonce: str
) -> tuple[dict[str, Any], str]:
    """Exchange ``code`` for the claims of the ID token and for the access token.

    Raises InvalidToken, ClientRefused, IssuerUnavailable.
    """
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "code_verifier": verifier,
        "redirect_uri": redirect_uri,
    }
    tokens = request_tokens(form)
    return _verify_id_token(tokens.get("id_token"), nonce), str(tokens.get("access_token") or "")


def request_tokens(form: dict[str, str]) -> dict[str, Any]:
    """Send ``form`` to the token endpoint, authenticated as our client.

    Raises InvalidToken, ClientRefused, IssuerUnavailable.
    """
    credentials = (settings.ADMIN_OIDC_CLIENT_ID, settings.ADMIN_OIDC_CLIENT_SECRET)
    methods = get_login_issuer().metadata().get("token_endpoint_auth_methods_supported")
    # OpenID Connect Discovery: a missing list means client_secret_basic.
    if "client_secret_basic" in (methods or ["client_secret_basic"]):
        # RFC 6749, section 2.3.1: form-encoded first, for the sake of colons and the like.
        request: dict[str, Any] = {"data": form, "auth": tuple(map(quote_plus, credentials))}
    else:
        names = ("client_id", "client_secret")
        request = {"data": form | dict(zip(names, credentials, strict=True))}
    try:
        return get_login_issuer().request(
            "POST", "token_endpoint", seconds=EXCHANGE_SECONDS, **request
        )
    except RequestRefused as error:
        if error.error in CLIENT_ERRORS or error.status == HTTPStatus.UNAUTHORIZED:
            raise ClientRefused(
                f"The token endpoint refuses this client. {error} Check ADMIN_OIDC_CLIENT_ID and "
                "ADMIN_OIDC_CLIENT_SECRET."
            ) from error
        raise InvalidToken(f"The token endpoint refuses the code. {error}") from error


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
        log.warning("issuer unavailable", endpoint="userinfo_endpoint", reason=str(error))
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


def verify_logout_token(token: str) -> LogoutToken:
    """Verify a logout token (OpenID Connect Back-Channel Logout 1.0, section 2.6).

    Raises InvalidToken, IssuerUnavailable.
    """
    claims = (
        get_login_issuer()
        .verify(
            token,
            audience=settings.ADMIN_OIDC_CLIENT_ID,
            types=LOGOUT_TOKEN_TYPES,
            required=("iat", "jti", "events"),
        )
        .claims
    )
    events = claims["events"]
    if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict):
        raise InvalidToken("The token is no logout token.")
    # So that no ID token passes for one.
    if "nonce" in claims:
        raise InvalidToken("A logout token must not have a nonce.")
    subject, sid = (claims.get(name, "") for name in ("sub", "sid"))
    if not isinstance(subject, str) or not isinstance(sid, str) or not (subject or sid):
        raise InvalidToken("The logout token names neither a person (sub) nor a login (sid).")
    return LogoutToken(subject, sid)
