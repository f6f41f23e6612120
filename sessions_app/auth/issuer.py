"""The client of the OpenID Connect issuer (OIDC Discovery 1.0, RFC 7519, RFC 8725), for agents'
tokens and for people's logins.

PyJWT verifies tokens. Fetching the keys is our own: PyJWT's PyJWKClient fetches
them for each unknown kid, so that anyone who sends invented ones makes it flood the issuer.
"""

import json
import math
import re
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import jwt
import structlog
from django.conf import settings

from audit_app.base import http_client
from audit_app.base.connections import release_connection
from sessions_app.auth.jwks import ALGORITHMS, PublishedKey, parse_keys

log = structlog.get_logger("orchestrator.identity")

MAX_TOKEN_LENGTH = 16 * 1024
MAX_ANSWER_BYTES = 256 * 1024

TIMEOUT_SECONDS = 2
"""For fetching discovery and keys together, and for a request that waits for them."""

LIFESPAN_SECONDS = 300
"""How long keys are used without a new fetch; a withdrawn key is accepted this long."""

REFRESH_SECONDS = 240
"""The age at which keys are fetched again while still in use, so that no request waits."""

OUTAGE_SECONDS = 3600
"""How long the last keys are used while the issuer is unavailable."""

FETCH_EVERY_SECONDS = 10
"""The pause between two fetches, whatever unknown kids arrive."""

RETRY_SECONDS = 5
"""The pause after a failed fetch."""

MAX_WAITING = 8
"""Requests that wait for the issuer at a time in one process."""

SERVER_ERROR = HTTPStatus.INTERNAL_SERVER_ERROR
ERROR_CODE = re.compile(r"[\w.-]{1,60}", re.ASCII)
DISCOVERY = "/.well-known/openid-configuration"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
REASONS: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.ExpiredSignatureError, "The token has expired."),
    (jwt.ImmatureSignatureError, "The token is not valid yet."),
    (jwt.InvalidAudienceError, "The token is meant for another audience."),
    (jwt.InvalidIssuerError, "The token is from another issuer."),
    (jwt.exceptions.InvalidSubjectError, "The token's subject is not a name."),
    (jwt.InvalidSignatureError, "The token's signature is not right."),
    (jwt.InvalidKeyError, "The token's key is of a kind or a size that is not accepted."),
)


class InvalidToken(Exception):
    """The token is not accepted. The message says why and quotes nothing from it."""


class IssuerUnavailable(Exception):
    """The issuer can't be reached or gives no valid answer. Ask again after ``retry_after`` s."""

    def __init__(self, reason: str, retry_after: float = RETRY_SECONDS) -> None:
        super().__init__(reason)
        self.retry_after = max(1, math.ceil(retry_after))


class IssuerMisconfigured(IssuerUnavailable):
    """There is no issuer at OIDC_ISSUER_URL, or it gives itself another name: a wrong setting."""


class RequestRefused(Exception):
    """The issuer refused our request with ``status``, and perhaps an ``error`` of RFC 6749."""

    def __init__(self, status: int, error: str = "") -> None:
        super().__init__(f"It answered {status}{f' ({error})' if error else ''}.")
        self.status, self.error = status, error


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """A token with a valid signature, for us, in its time. ``type`` is its header's ``typ`` in
    lower case, without ``application/``; empty if it has none."""

    type: str
    claims: dict[str, Any]


class Issuer:
    """One issuer with its cached discovery document and keys. Thread-safe.

    A background thread fetches both. A request with a usable key never waits; any other waits at
    most TIMEOUT_SECONDS, and at most MAX_WAITING do so at a time. While the issuer fails, only the
    request that starts a new attempt waits, and the others fail at once; the last keys stay usable
    for OUTAGE_SECONDS. The issuer sees at most one fetch per FETCH_EVERY_SECONDS, or one per
    RETRY_SECONDS while it fails.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._changed = threading.Condition()
        self._keys: list[PublishedKey] = []
        self._metadata: dict[str, Any] = {}
        self._discovered_at = self._fetched_at = self._began_at = self._failed_at = -math.inf
        self._fetching = False
        self._failure: IssuerUnavailable | None = None
        self._waiting = 0

    def verify(
        self, token: str, *, audience: str, types: Collection[str], required: tuple[str, ...] = ()
    ) -> VerifiedToken:
        """Verify ``token`` for ``audience``; its claims include those ``required`` beside ``exp``,
        ``iss`` and ``aud``.

        Its ``typ`` must be among ``types`` (RFC 8725, section 3.11), where "" stands for none.
        Raises InvalidToken, IssuerUnavailable.
        """
        if len(token) > MAX_TOKEN_LENGTH:
            raise InvalidToken(f"The token is longer than {MAX_TOKEN_LENGTH} characters.")
        kid, algorithm, type_ = _parse_header(token)
        if type_ not in types:
            raise InvalidToken("The token is of a type (typ) that is not accepted for this.")
        key = self._get_key(kid, algorithm)
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                audience=audience,
                issuer=self.url,
                leeway=settings.OIDC_CLOCK_SKEW,
                options={
                    "require": ["exp", "iss", "aud", *required],
                    # PyJWT only warns about short keys by default.
                    "enforce_minimum_key_length": True,
                },
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise InvalidToken(_describe(error)) from error
        return VerifiedToken(type_, claims)

    def metadata(self) -> Mapping[str, Any]:
        """The discovery document, at most LIFESPAN_SECONDS old. Raises IssuerUnavailable."""
        with self._changed:
            self._await_fetch(None, self._is_fresh)
            if not self._is_fresh():
                raise self._unavailable("Its discovery document can't be had.")
            return self._metadata

    @property
    def _failing(self) -> bool:
        return self._failure is not None

    def _unavailable(self, reason: str) -> IssuerUnavailable:
        """The error of the last fetch if that failed, else one with ``reason``."""
        if self._failure is None:
            return IssuerUnavailable(reason)
        # A new error each time: a traceback would grow with each request that raises it.
        pause = self._failed_at + RETRY_SECONDS - monotonic()
        return type(self._failure)(str(self._failure), pause)

    def endpoint(self, name: str) -> str:
        """The endpoint called ``name`` in the discovery document. Raises IssuerUnavailable."""
        url = self.metadata().get(name)
        if not isinstance(url, str) or not is_allowed_url(url, self.url):
            raise IssuerUnavailable(f"The discovery document has no {name} that is https.")
        return url

    def request(self, method: str, name: str, *, seconds: float, **request: Any) -> dict[str, Any]:
        """Send a request to the endpoint ``name`` and return its JSON answer.

        Raises RequestRefused, IssuerUnavailable.
        """
        url = self.endpoint(name)
        release_connection()
        try:
            return fetch_json(method, url, self.url, seconds=seconds, **request)
        except UNUSABLE as error:
            # A refusal is for the caller to judge; what else goes wrong is the issuer's.
            if isinstance(error, RequestRefused) and error.status < SERVER_ERROR:
                raise
            reason = str(error)[:200]
            log.warning("issuer unavailable", issuer=self.url, endpoint=name, reason=reason)
            raise IssuerUnavailable(reason) from error

    def _get_key(self, kid: str | None, algorithm: str) -> PublishedKey:
        """The key called ``kid`` for ``algorithm``; without a kid, the only key for it.

        Raises InvalidToken, IssuerUnavailable.
        """
        with self._changed:
            waited = self._await_fetch(kid, lambda: self._is_usable(kid))
            max_age = OUTAGE_SECONDS if waited or self._failing else LIFESPAN_SECONDS
            if self._age() > max_age:
                raise self._unavailable("Its keys can't be had.")
            if not waited and not self._knows(kid):
                # It may have been published since the last fetch, and the next one is not due yet.
                pause = self._began_at + FETCH_EVERY_SECONDS - monotonic()
                raise IssuerUnavailable("Its keys were fetched a moment ago.", pause)
            return self._find_key(kid, algorithm)

    def _await_fetch(self, kid: str | None, suffices: Callable[[], bool]) -> bool:
        """Start a fetch if one is due, and wait for it unless ``suffices``; return whether it
        waited."""
        begins = not self._fetching and self._needs_fetch(kid)
        if begins:
            self._start_fetch()
        waits = self._fetching and not suffices() and (begins or self._may_wait())
        if waits:
            self._wait(suffices)
        return waits

    def _may_wait(self) -> bool:
        # Threads are few, and callers with API keys need them as well. In a process that has just
        # started everyone waits, until the first failure.
        new = self._fetched_at == -math.inf
        return not self._failing and (new or self._waiting < MAX_WAITING)

    def _wait(self, suffices: Callable[[], bool]) -> None:
        release_connection()
        self._waiting += 1
        try:
            self._changed.wait_for(lambda: not self._fetching or suffices(), TIMEOUT_SECONDS)
        finally:
            self._waiting -= 1

    def _is_fresh(self) -> bool:
        return self._age() <= LIFESPAN_SECONDS

    def _age(self) -> float:
        return monotonic() - self._fetched_at

    def _knows(self, kid: str | None) -> bool:
        # A token without a kid can only mean one of the keys that are there.
        return kid is None or any(key.kid == kid for key in self._keys)

    def _needs_fetch(self, kid: str | None) -> bool:
        if self._knows(kid) and self._age() <= REFRESH_SECONDS:
            return False
        if self._failing:
            return monotonic() - self._failed_at >= RETRY_SECONDS
        return monotonic() - self._began_at >= FETCH_EVERY_SECONDS

    def _is_usable(self, kid: str | None) -> bool:
        """Whether the cached keys can be used without waiting for the running fetch."""
        longest = OUTAGE_SECONDS if self._failing else LIFESPAN_SECONDS
        return self._knows(kid) and self._age() <= longest

    def _find_key(self, kid: str | None, algorithm: str) -> PublishedKey:
        """Choose among the cached keys. Raises InvalidToken, IssuerUnavailable."""
        named = [key for key in self._keys if kid in (None, key.kid)]
        fitting = [key for key in named if algorithm in key.algorithms]
        if kid is None and len(fitting) != 1:
            raise InvalidToken("The token does not say which of the issuer's keys signed it.")
        if fitting:
            return fitting[0]
        if named:
            raise InvalidToken("The token's algorithm is not one that its key is published for.")
        if self._failing or self._fetching:
            raise self._unavailable("Its keys can't be had.")
        raise InvalidToken("The token is signed with a key that the issuer does not publish.")

    def _start_fetch(self) -> None:
        threading.Thread(target=self._fetch, name="oidc-keys", daemon=True).start()
        self._fetching, self._began_at = True, monotonic()

    def _fetch(self) -> None:
        keys: list[PublishedKey] = []
        failure: IssuerUnavailable | None = IssuerUnavailable("The fetch broke off.")
        try:
            keys, failure = self._fetch_keys(monotonic() + TIMEOUT_SECONDS), None
        except IssuerMisconfigured as error:
            log.error("issuer misconfigured", issuer=self.url, reason=str(error))
            failure = error
        except UNUSABLE as error:
            log.warning("issuer unavailable", issuer=self.url, reason=str(error)[:200])
            failure = IssuerUnavailable(str(error))
        finally:
            with self._changed:
                self._store_keys(keys, failure)
                self._changed.notify_all()

    def _store_keys(self, keys: list[PublishedKey], failure: IssuerUnavailable | None) -> None:
        self._fetching, self._failure = False, failure
        if failure:
            self._failed_at = monotonic()
        else:
            # Dated from the start of the fetch: a key may have been withdrawn since then.
            self._keys, self._fetched_at = keys, self._began_at

    def _fetch_keys(self, deadline: float) -> list[PublishedKey]:
        """Fetch the keys, and the discovery document first if it is old.

        Raises IssuerMisconfigured, UNUSABLE.
        """
        # Also after every failure, since the issuer may have moved.
        if self._failing or monotonic() - self._discovered_at > REFRESH_SECONDS:
            self._metadata = discover(self.url, seconds=deadline - monotonic())
            self._discovered_at = monotonic()
        uri = self._metadata["jwks_uri"]
        answer = fetch_json("GET", uri, self.url, seconds=deadline - monotonic())
        return parse_keys(answer.get("keys"), get_named_algorithms(self._metadata))


def discover(url: str, *, seconds: float) -> dict[str, Any]:
    """The discovery document of the issuer at ``url``. Raises IssuerMisconfigured, UNUSABLE."""
    document = fetch_discovery(url, seconds=seconds)
    issuer = document.get("issuer")
    if issuer != url:
        raise IssuerMisconfigured(
            f"OIDC_ISSUER_URL is {url!r}, but the issuer there calls itself {str(issuer)[:200]!r}."
        )
    if not isinstance(document.get("jwks_uri"), str):
        raise ValueError("The discovery document names no jwks_uri.")
    return document


def fetch_discovery(url: str, *, seconds: float) -> dict[str, Any]:
    """The discovery document at ``url``, whatever it says. Raises IssuerMisconfigured, UNUSABLE."""
    address = url.rstrip("/") + DISCOVERY
    try:
        return fetch_json("GET", address, url, seconds=seconds)
    except RequestRefused as error:
        if error.status == HTTPStatus.NOT_FOUND:
            raise IssuerMisconfigured(f"There is no discovery document at {address}.") from error
        raise


def get_named_algorithms(metadata: Mapping[str, Any]) -> frozenset[str]:
    """The algorithms that the issuer says it signs with."""
    # OpenID Connect has no such list for access tokens, which issuers sign as they do ID tokens.
    names = metadata.get("id_token_signing_alg_values_supported")
    names = names if isinstance(names, list) else []
    return frozenset(name for name in names if isinstance(name, str))


@lru_cache(maxsize=4)
def get_issuer(url: str) -> Issuer:
    """The process-wide client of the issuer at ``url``."""
    return Issuer(url)


def _parse_header(token: str) -> tuple[str | None, str, str]:
    """The kid, the algorithm and the type in a token's header. Raises InvalidToken."""
    # jku, x5u and jwk are ignored: a token must not say where its own key comes from.
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError) as error:
        raise InvalidToken("This is no token that can be read.") from error
    if "crit" in header:
        raise InvalidToken("The token demands an extension that this server does not know.")
    algorithm, type_ = header.get("alg"), header.get("typ", "")
    if algorithm not in ALGORITHMS:
        raise InvalidToken(f"Only tokens signed with {', '.join(ALGORITHMS)} are accepted.")
    if not isinstance(type_, str):
        raise InvalidToken("This is no token that can be read.")
    return header.get("kid"), algorithm, type_.lower().removeprefix("application/")


def _describe(error: Exception) -> str:
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"The token lacks the claim {error.claim}."
    return next(
        (reason for kind, reason in REASONS if isinstance(error, kind)), "The token is not valid."
    )


def is_allowed_url(url: str, issuer: str) -> bool:
    """Whether ``url`` is https, or http on loopback like the issuer, or http in a trial."""
    parts = urlsplit(url)
    if parts.scheme != "http":
        return parts.scheme == "https"
    return settings.TRIAL or settings.DEBUG or all(_on_loopback(one) for one in (url, issuer))


def _on_loopback(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname in LOOPBACK


def fetch_json(
    method: str, url: str, issuer: str, *, seconds: float, **request: Any
) -> dict[str, Any]:
    """Fetch a JSON object of at most MAX_ANSWER_BYTES. Raises UNUSABLE."""
    if not is_allowed_url(url, issuer):
        raise ValueError("Its address must be https.")
    answer = http_client.send(method, url, seconds=seconds, at_most=MAX_ANSWER_BYTES + 1, **request)
    if answer.status != HTTPStatus.OK:
        raise RequestRefused(answer.status, _parse_error(answer.body))
    if len(answer.body) > MAX_ANSWER_BYTES:
        raise ValueError("Its answer is too large.")
    document = json.loads(answer.body)
    if not isinstance(document, dict):
        raise ValueError("Its answer is no JSON object.")
    return document


def _parse_error(body: bytes) -> str:
    """The error code in the body of a refusal (RFC 6749, section 5.2); "" if there is none."""
    try:
        error = json.loads(body).get("error")
    except (ValueError, AttributeError, RecursionError):
        return ""
    return error if isinstance(error, str) and ERROR_CODE.fullmatch(error) else ""


UNUSABLE = (http_client.NoAnswer, RequestRefused, ValueError, RecursionError)
"""The errors that mean that the issuer gave no usable answer."""
