"""The OpenID Connect issuer: what it publishes, and what it signed (OIDC Discovery 1.0, RFC 7519,
RFC 8725). Agents' tokens and people's sign-ins go by it alike.

PyJWT parses keys and verifies tokens. When the issuer is asked for its keys is decided here: the
PyJWKClient of PyJWT asks for each kid that it does not know, so that whoever sends invented ones
makes this server flood the issuer.
"""

import json
import math
import threading
from collections.abc import Callable, Mapping
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

log = structlog.get_logger("orchestrator.identity")

ALGORITHMS = ("RS256", "ES256", "EdDSA")
LEEWAY_SECONDS = 30
MAX_TOKEN_LENGTH = 16 * 1024
MAX_ANSWER_BYTES = 256 * 1024

TIMEOUT_SECONDS = 2
"""For discovery and keys together, and for how long a request waits for them."""

LIFESPAN_SECONDS = 300
"""After which a key that the issuer withdrew is accepted no more."""

REFRESH_SECONDS = 240
"""After which keys are fetched while they are still in use, so that nobody waits for them."""

OUTAGE_SECONDS = 3600
"""For how long the keys last fetched are accepted while the issuer is away."""

FETCH_EVERY_SECONDS = 10
"""Between two fetches, whatever unknown kids come."""

RETRY_SECONDS = 5
"""After a fetch that failed."""

MAX_WAITING = 8
"""Requests of one process that wait for the issuer at a time."""

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
    """The token is not one that this server accepts. The text says why, and nothing it holds."""


class IssuerUnavailable(Exception):
    """The issuer can't be reached, or answers what no issuer answers."""


class RequestRefused(Exception):
    """The issuer understood a request of ours, and refused it with ``status``."""

    def __init__(self, status: int) -> None:
        super().__init__(f"It answered {status}.")
        self.status = status


class Issuer:
    """One issuer, as this process knows it. Threads share it.

    One thread of its own fetches what the issuer publishes: its discovery document and its keys.
    No request waits longer than TIMEOUT_SECONDS, whatever hangs, and none that has a key that can
    still be used. MOST_WAITING wait at a time, and while the issuer fails, only the one that asks
    it again; the others are told at once. Invented kids cost the issuer one fetch in
    FETCH_EVERY_SECONDS, and one that is away is asked once in RETRY_SECONDS. The keys last fetched
    are used for OUTAGE_SECONDS then, so that no agent stops with the issuer.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._changed = threading.Condition()
        self._keys: list[jwt.PyJWK] = []
        self._metadata: dict[str, Any] = {}
        self._discovered_at = self._fetched_at = self._began_at = self._failed_at = -math.inf
        self._fetching = self._failing = False
        self._waiting = 0

    def verify(
        self, token: str, *, audience: str, required: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """The claims of ``token``: signed by this issuer, for ``audience``, at its time, with those
        that are ``required`` beside ``exp``, ``iss`` and ``aud``.

        Raises InvalidToken, IssuerUnavailable.
        """
        if len(token) > MAX_TOKEN_LENGTH:
            raise InvalidToken(f"The token is longer than {MAX_TOKEN_LENGTH} characters.")
        key = self._get_key(*_parse_header(token))
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=audience,
                issuer=self.url,
                leeway=LEEWAY_SECONDS,
                options={
                    "require": ["exp", "iss", "aud", *required],
                    "enforce_minimum_key_length": True,
                },
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise InvalidToken(_describe(error)) from error
        return claims

    def metadata(self) -> Mapping[str, Any]:
        """Its discovery document, LIFESPAN_SECONDS old at most. Raises IssuerUnavailable."""
        with self._changed:
            self._await_fetch(None, self._is_fresh)
            if not self._is_fresh():
                raise IssuerUnavailable("Its discovery document can't be had.")
            return self._metadata

    def endpoint(self, name: str) -> str:
        """The URL that ``metadata`` gives for ``name``. Raises IssuerUnavailable."""
        url = self.metadata().get(name)
        if not isinstance(url, str) or not is_allowed_url(url, self.url):
            raise IssuerUnavailable(f"The discovery document has no {name} that is https.")
        return url

    def request(self, method: str, name: str, *, seconds: float, **request: Any) -> dict[str, Any]:
        """What the endpoint ``name`` answers to a request of ours.

        Raises RequestRefused, IssuerUnavailable.
        """
        url = self.endpoint(name)
        release_connection()
        try:
            return _fetch_json(method, url, self.url, seconds=seconds, **request)
        except RequestRefused as error:
            if error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            raise IssuerUnavailable(str(error)) from error
        except UNUSABLE as error:
            log.warning("issuer unavailable", issuer=self.url, reason=str(error)[:200])
            raise IssuerUnavailable(str(error)) from error

    def _get_key(self, kid: str | None, algorithm: str) -> jwt.PyJWK:
        """The issuer's key called ``kid``, for ``algorithm``; without a kid, its only one for that.

        Raises InvalidToken, IssuerUnavailable.
        """
        with self._changed:
            waited = self._await_fetch(kid, lambda: self._is_usable(kid))
            trusted = OUTAGE_SECONDS if waited or self._failing else LIFESPAN_SECONDS
            return self._find_key(kid, algorithm, trusted)

    def _await_fetch(self, kid: str | None, suffices: Callable[[], bool]) -> bool:
        """Begin a fetch where one is due, and wait for it unless what is known suffices; whether
        it was waited for."""
        begins = not self._fetching and self._needs_fetch(kid)
        if begins:
            self._start_fetch()
        waits = self._fetching and not suffices() and (begins or self._may_wait())
        if waits:
            self._wait(suffices)
        return waits

    def _may_wait(self) -> bool:
        """Threads are few, and callers with API keys need them, too. In a process that just began
        all wait; the first failure ends that."""
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
        """A token that names no kid asks for no other keys than there are."""
        return kid is None or any(key.key_id == kid for key in self._keys)

    def _needs_fetch(self, kid: str | None) -> bool:
        if self._knows(kid) and self._age() <= REFRESH_SECONDS:
            return False
        if self._failing:
            return monotonic() - self._failed_at >= RETRY_SECONDS
        return monotonic() - self._began_at >= FETCH_EVERY_SECONDS

    def _is_usable(self, kid: str | None) -> bool:
        """Whether to judge without waiting for the fetch that is under way."""
        longest = OUTAGE_SECONDS if self._failing else LIFESPAN_SECONDS
        return self._knows(kid) and self._age() <= longest

    def _find_key(self, kid: str | None, algorithm: str, trusted: int) -> jwt.PyJWK:
        """Among the keys there are, after all waiting, if they are not older than ``trusted``."""
        if self._age() > trusted:
            raise IssuerUnavailable
        named = [key for key in self._keys if kid in (None, key.key_id)]
        fitting = [key for key in named if key.algorithm_name == algorithm]
        if kid is None and len(fitting) != 1:
            raise InvalidToken("The token does not say which of the issuer's keys signed it.")
        if fitting:
            return fitting[0]
        if named:
            raise InvalidToken("The token's algorithm is not that of its key.")
        if self._failing or self._fetching:
            raise IssuerUnavailable
        raise InvalidToken("The token is signed with a key that the issuer does not publish.")

    def _start_fetch(self) -> None:
        threading.Thread(target=self._fetch, name="oidc-keys", daemon=True).start()
        self._fetching, self._began_at = True, monotonic()

    def _fetch(self) -> None:
        keys = None
        try:
            keys = self._fetch_keys(monotonic() + TIMEOUT_SECONDS)
        except UNUSABLE as error:
            log.warning("issuer unavailable", issuer=self.url, reason=str(error)[:200])
        finally:
            with self._changed:
                self._store_keys(keys)
                self._changed.notify_all()

    def _store_keys(self, keys: list[jwt.PyJWK] | None) -> None:
        self._fetching, self._failing = False, keys is None
        if keys is None:
            self._failed_at = monotonic()
        else:
            # From when they were asked for: what was withdrawn since is not known.
            self._keys, self._fetched_at = keys, self._began_at

    def _fetch_keys(self, deadline: float) -> list[jwt.PyJWK]:
        """Discovery as old as keys may be is done again, and after every failure: the issuer may
        have moved."""
        if self._failing or monotonic() - self._discovered_at > REFRESH_SECONDS:
            self._metadata = self._discover(deadline)
            self._discovered_at = monotonic()
        uri = self._metadata["jwks_uri"]
        found = _fetch_json("GET", uri, self.url, seconds=deadline - monotonic())
        return _parse_keys(found.get("keys"))

    def _discover(self, deadline: float) -> dict[str, Any]:
        url = self.url.rstrip("/") + "/.well-known/openid-configuration"
        said = _fetch_json("GET", url, self.url, seconds=deadline - monotonic())
        if said.get("issuer") != self.url:
            raise ValueError("The discovery document names another issuer.")
        if not isinstance(said.get("jwks_uri"), str):
            raise ValueError("The discovery document names no jwks_uri.")
        return said


@lru_cache(maxsize=4)
def get_issuer(url: str) -> Issuer:
    """What this process knows of the issuer at ``url``."""
    return Issuer(url)


def _parse_header(token: str) -> tuple[str | None, str]:
    """The kid and the algorithm that a token names. Where it says that its key could be had
    (``jku``, ``x5u``, ``jwk``) is not heeded."""
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError) as error:
        raise InvalidToken("This is no token that can be read.") from error
    if "crit" in header:
        raise InvalidToken("The token demands an extension that this server does not know.")
    algorithm = header.get("alg")
    if algorithm not in ALGORITHMS:
        raise InvalidToken(f"Only tokens signed with {', '.join(ALGORITHMS)} are accepted.")
    return header.get("kid"), algorithm


def _describe(error: Exception) -> str:
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"The token lacks the claim {error.claim}."
    return next(
        (said for kind, said in REASONS if isinstance(error, kind)), "The token is not valid."
    )


def _parse_keys(given: Any) -> list[jwt.PyJWK]:
    """The keys of a JWK set (RFC 7517) that tokens may be signed with; none is a set as well, and
    one that can't be read spoils no other."""
    if not isinstance(given, list):
        raise ValueError("The issuer's keys are no JWK set.")
    found = []
    for one in given:
        try:
            key = jwt.PyJWK(one) if _is_for_signing(one) else None
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError, KeyError):
            continue
        if key is not None and key.algorithm_name in ALGORITHMS:
            found.append(key)
    return found


def _is_for_signing(key: Any) -> bool:
    return key.get("use", "sig") == "sig" and "verify" in key.get("key_ops", ["verify"])


def is_allowed_url(url: str, issuer: str) -> bool:
    """https; and http on loopback where the issuer is there, or anywhere in a trial."""
    parts = urlsplit(url)
    if parts.scheme != "http":
        return parts.scheme == "https"
    return settings.TRIAL or settings.DEBUG or all(_on_loopback(one) for one in (url, issuer))


def _on_loopback(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname in LOOPBACK


def _fetch_json(
    method: str, url: str, issuer: str, *, seconds: float, **request: Any
) -> dict[str, Any]:
    """The JSON object that ``url`` answers with, not larger than MAX_ANSWER_BYTES.

    Raises what is UNUSABLE.
    """
    if not is_allowed_url(url, issuer):
        raise ValueError("Its address must be https.")
    answer = http_client.send(method, url, seconds=seconds, at_most=MAX_ANSWER_BYTES + 1, **request)
    if answer.status != HTTPStatus.OK:
        raise RequestRefused(answer.status)
    if len(answer.body) > MAX_ANSWER_BYTES:
        raise ValueError("Its answer is too large.")
    found = json.loads(answer.body)
    if not isinstance(found, dict):
        raise ValueError("Its answer is no JSON object.")
    return found


UNUSABLE = (http_client.NoAnswer, RequestRefused, ValueError, RecursionError)
"""What is raised where the issuer's answer can't be had, or is none."""
