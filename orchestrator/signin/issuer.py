"""The OpenID Connect issuer: what it says of itself, and its word about a person, verified.

mozilla-django-oidc takes the endpoints from settings and leaves ``aud`` and ``iss`` unchecked; here
they are discovered when somebody signs in, so that the process starts while the issuer is away, and
everything in an ID token is verified (OpenID Connect Core 1.0, 3.1.3.7).
"""

import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

import jwt
import structlog
from django.conf import settings

from sessions_app import oidc

log = structlog.get_logger("orchestrator.signin")

TIMEOUT_SECONDS = 3
KEPT_SECONDS = 300
RETRY_SECONDS = 5
"""Between two failed discoveries, and between two looks for a key that the issuer did not have."""

REQUIRED = ["exp", "iat", "iss", "aud", "sub", "nonce"]


class IssuerUnavailable(Exception):
    """The issuer can't be reached, or answers what no issuer answers."""


class NotVerified(Exception):
    """The ID token is not this issuer's word, for us, about this sign-in."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the issuer's discovery document says, as far as it is used here."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str
    end_session_endpoint: str
    secret_in_body: bool


class Issuer:
    """One issuer, as this process knows it. Threads share it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._lock = threading.Lock()
        self._configuration: Configuration | None = None
        self._discovered_at = self._failed_at = self._fetched_at = float("-inf")
        self._keys: dict[str | None, jwt.PyJWK] = {}

    def configuration(self) -> Configuration:
        """Discovered at most every KEPT_SECONDS.

        Raises IssuerUnavailable, for RETRY_SECONDS without asking again, so that an issuer that
        hangs holds one thread and not each.
        """
        with self._lock:
            now = time.monotonic()
            if self._configuration and now - self._discovered_at < KEPT_SECONDS:
                return self._configuration
            if now - self._failed_at < RETRY_SECONDS:
                raise IssuerUnavailable("It could not be reached a moment ago.")
            try:
                self._configuration = self._discovered()
            except IssuerUnavailable as error:
                self._failed_at = time.monotonic()
                log.warning("issuer unavailable", issuer=self.url, reason=str(error))
                raise
            self._discovered_at = now
            return self._configuration

    def reachable(self) -> bool:
        try:
            self.configuration()
        except IssuerUnavailable:
            return False
        return True

    def verified(self, id_token: str, *, nonce: str) -> dict[str, Any]:
        """The claims of ``id_token``: signed by this issuer, for us, for this sign-in, not expired.

        Raises NotVerified, IssuerUnavailable.
        """
        try:
            key = self._key(jwt.get_unverified_header(id_token).get("kid"))
            claims: dict[str, Any] = jwt.decode(
                id_token,
                key,
                algorithms=oidc.ALGORITHMS,
                audience=settings.ADMIN_OIDC_CLIENT_ID,
                issuer=self.url,
                leeway=oidc.LEEWAY_SECONDS,
                options={"require": REQUIRED},
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise NotVerified(str(error)) from error
        if claims["nonce"] != nonce:
            raise NotVerified("The nonce is of another sign-in.")
        ours = settings.ADMIN_OIDC_CLIENT_ID
        if claims.get("azp", ours) != ours or (_several(claims["aud"]) and "azp" not in claims):
            raise NotVerified("The token was issued to another client.")
        if not isinstance(claims["sub"], str) or not claims["sub"]:
            raise NotVerified("The token names nobody.")
        return claims

    def userinfo(self, access_token: str, subject: str) -> dict[str, Any]:
        """More claims about ``subject``, where the issuer has such an endpoint.

        Raises NotVerified (another's claims), IssuerUnavailable.
        """
        endpoint = self.configuration().userinfo_endpoint
        if not endpoint:
            return {}
        claims = _fetched(endpoint, {"Authorization": f"Bearer {access_token}"})
        if claims.get("sub") != subject:
            raise NotVerified("The claims are about somebody else.")
        return claims

    def _discovered(self) -> Configuration:
        said = _fetched(self.url.rstrip("/") + "/.well-known/openid-configuration")
        if said.get("issuer") != self.url:
            raise IssuerUnavailable("The discovery document names another issuer.")
        methods = said.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        return Configuration(
            authorization_endpoint=_endpoint(said, "authorization_endpoint"),
            token_endpoint=_endpoint(said, "token_endpoint"),
            jwks_uri=_endpoint(said, "jwks_uri"),
            userinfo_endpoint=_endpoint(said, "userinfo_endpoint", optional=True),
            end_session_endpoint=_endpoint(said, "end_session_endpoint", optional=True),
            secret_in_body="client_secret_basic" not in methods,
        )

    def _key(self, kid: str | None) -> jwt.PyJWK:
        """The issuer's key called ``kid``; a token without one is tried with the only key there is.

        Raises NotVerified.
        """
        configuration = self.configuration()
        with self._lock:
            age = time.monotonic() - self._fetched_at
            if age > KEPT_SECONDS or (kid not in self._keys and age > RETRY_SECONDS):
                self._keys = _signing_keys(_fetched(configuration.jwks_uri))
                self._fetched_at = time.monotonic()
            if kid is None and len(self._keys) == 1:
                return next(iter(self._keys.values()))
            if kid not in self._keys:
                raise NotVerified("The token is signed with a key that the issuer does not have.")
            return self._keys[kid]


@lru_cache(maxsize=4)
def _known(url: str) -> Issuer:
    return Issuer(url)


def issuer() -> Issuer:
    """The issuer at OIDC_ISSUER_URL."""
    return _known(settings.OIDC_ISSUER_URL)


def _signing_keys(document: dict[str, Any]) -> dict[str | None, jwt.PyJWK]:
    """By kid. Keys for encryption, and of kinds that PyJWT does not know, are left out."""
    found = {}
    for one in document.get("keys") or []:
        try:
            if one.get("use", "sig") == "sig":
                found[one.get("kid")] = jwt.PyJWK(one)
        except (jwt.PyJWTError, ValueError, AttributeError) as error:
            log.info("key ignored", reason=str(error))
    return found


def _endpoint(said: dict[str, Any], name: str, *, optional: bool = False) -> str:
    url = said.get(name) or ""
    if not url and optional:
        return ""
    if not isinstance(url, str) or not _may_be_asked(url):
        raise IssuerUnavailable(f"The discovery document has no {name} that is https.")
    return url


def _may_be_asked(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in oidc.LOOPBACK)


def _fetched(url: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """The JSON object at ``url``, of bounded size, in bounded time. Raises IssuerUnavailable."""
    if not _may_be_asked(url):
        raise IssuerUnavailable("Its URL must be https.")
    deadline = time.monotonic() + TIMEOUT_SECONDS
    try:
        return oidc.document(url, settings.OIDC_ISSUER_URL, deadline, headers)
    except (OSError, HTTPException, ValueError, RecursionError) as error:
        raise IssuerUnavailable(f"{type(error).__name__} at {urlsplit(url).hostname}") from error


def _several(audience: Any) -> bool:
    return isinstance(audience, list) and len(audience) > 1
