"""Bearer JWTs of the configured OpenID Connect issuer (OIDC Discovery 1.0, RFC 7519, RFC 8725).

PyJWT parses keys and verifies tokens. When the issuer is asked for its keys is decided here: the
PyJWKClient of PyJWT asks for each kid that it does not know, so that whoever sends invented ones
makes this server flood the issuer, and an answer that drips holds its thread as long as it drips.
"""

import http.client
import io
import json
import math
import socket
import ssl
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from http import HTTPStatus
from time import monotonic
from typing import Any
from urllib.parse import urlsplit
from urllib.request import (
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

import jwt
import structlog
from django.conf import settings
from rest_framework.exceptions import ValidationError

from audit_app.connections import release_connection
from audit_app.serializers import NameField
from sessions_app.models import ROLE_LENGTH

log = structlog.get_logger("orchestrator.identity")

ALGORITHMS = ("RS256", "ES256", "EdDSA")
REQUIRED = ["exp", "iss", "aud"]
LEEWAY_SECONDS = 30
LARGEST_TOKEN = 16 * 1024
LARGEST_ANSWER = 256 * 1024
LONGEST_SUBJECT = 255

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

MOST_WAITING = 8
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
    """The issuer can't be reached, and this token can't be judged without it."""


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


def bearer_of(token: str) -> Bearer:
    """The bearer of a token of the configured issuer for our audience.

    Raises InvalidToken, also when no issuer is configured, and IssuerUnavailable.
    """
    claims = verified(token)
    subject = claim(claims, settings.OIDC_SUBJECT_CLAIM)
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT:
        raise InvalidToken("The token's subject is not a name.")
    if not subject.isprintable():
        raise InvalidToken("The token's subject is not a name.")
    return Bearer(subject, _roles(claims), _name(claims, subject), _owner(claims), claims)


def verified(token: str) -> dict[str, Any]:
    """The claims of ``token``: signed by the issuer, for us, at its time.

    Raises InvalidToken, IssuerUnavailable.
    """
    if len(token) > LARGEST_TOKEN:
        raise InvalidToken(f"The token is longer than {LARGEST_TOKEN} characters.")
    issuer = settings.OIDC_AUDIENCE and settings.OIDC_ISSUER_URL
    if not issuer:
        raise InvalidToken("This bearer token is not an API key, and no issuer is configured.")
    kid, algorithm = _header(token)
    key = keys_of(issuer).find(kid, algorithm)
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=ALGORITHMS,
            audience=settings.OIDC_AUDIENCE,
            issuer=issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": REQUIRED, "enforce_minimum_key_length": True},
        )
    except (jwt.PyJWTError, ValueError) as error:
        raise InvalidToken(_reason(error)) from error
    return claims


def claim(claims: Mapping[str, Any], path: str) -> Any:
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
    given = claim(claims, settings.OIDC_ROLES_CLAIM)
    values = given.split() if isinstance(given, str) else given if isinstance(given, list) else []
    prefix = settings.OIDC_ROLES_PREFIX
    ours = (v.removeprefix(prefix) for v in values if isinstance(v, str) and v.startswith(prefix))
    return tuple(dict.fromkeys(role for role in ours if is_name(role)))


def _name(claims: Mapping[str, Any], subject: str) -> str:
    candidates: tuple[Any, ...] = (
        claim(claims, settings.OIDC_NAME_CLAIM),
        claims.get("azp"),
        subject,
    )
    return next((name for name in candidates if is_name(name)), "agent")


def _owner(claims: Mapping[str, Any]) -> str | None:
    if not settings.OIDC_OWNER_CLAIM:
        return ""
    owner: Any = claim(claims, settings.OIDC_OWNER_CLAIM)
    return owner if is_name(owner) else None


def _header(token: str) -> tuple[str | None, str]:
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


def _reason(error: Exception) -> str:
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"The token lacks the claim {error.claim}."
    return next(
        (said for kind, said in REASONS if isinstance(error, kind)), "The token is not valid."
    )


class Keys:
    """The keys that one issuer signs with, as this process knows them. Threads share it.

    One thread of its own fetches; no request waits longer than TIMEOUT_SECONDS, whatever hangs,
    and none that has a key that can still be used. MOST_WAITING wait at a time, and while the
    issuer fails, only the one that asks it again; the others are told at once. Invented kids cost
    the issuer one fetch in FETCH_EVERY_SECONDS, and one that is away is asked once in
    RETRY_SECONDS. What was last fetched is used for OUTAGE_SECONDS then, so that nobody stops with
    the issuer.
    """

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._changed = threading.Condition()
        self._keys: list[jwt.PyJWK] = []
        self._jwks_uri = ""
        self._discovered_at = self._fetched_at = self._began_at = self._failed_at = -math.inf
        self._fetching = self._failing = False
        self._waiting = 0

    def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK:
        """The issuer's key called ``kid``, for ``algorithm``; without a kid, its only one for that.

        Raises InvalidToken, IssuerUnavailable.
        """
        with self._changed:
            begins = not self._fetching and self._wants_a_fetch(kid)
            if begins:
                self._begin()
            waits = not self._settled(kid) and (begins or self._may_wait())
            if waits:
                self._wait(kid)
            trusted = OUTAGE_SECONDS if waits or self._failing else LIFESPAN_SECONDS
            return self._found(kid, algorithm, trusted)

    def _settled(self, kid: str | None) -> bool:
        return not self._fetching or self._suffices(kid)

    def _may_wait(self) -> bool:
        """Threads are few, and callers with API keys need them, too. In a process that just began
        all wait; the first failure ends that."""
        new = self._fetched_at == -math.inf
        return not self._failing and (new or self._waiting < MOST_WAITING)

    def _wait(self, kid: str | None) -> None:
        release_connection()
        self._waiting += 1
        try:
            self._changed.wait_for(lambda: self._settled(kid), TIMEOUT_SECONDS)
        finally:
            self._waiting -= 1

    def _age(self) -> float:
        return monotonic() - self._fetched_at

    def _knows(self, kid: str | None) -> bool:
        """A token that names no kid asks for no other keys than there are."""
        return kid is None or any(key.key_id == kid for key in self._keys)

    def _wants_a_fetch(self, kid: str | None) -> bool:
        if self._knows(kid) and self._age() <= REFRESH_SECONDS:
            return False
        if self._failing:
            return monotonic() - self._failed_at >= RETRY_SECONDS
        return monotonic() - self._began_at >= FETCH_EVERY_SECONDS

    def _suffices(self, kid: str | None) -> bool:
        """Whether to judge without waiting for the fetch that is under way."""
        longest = OUTAGE_SECONDS if self._failing else LIFESPAN_SECONDS
        return self._knows(kid) and self._age() <= longest

    def _found(self, kid: str | None, algorithm: str, trusted: int) -> jwt.PyJWK:
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

    def _begin(self) -> None:
        threading.Thread(target=self._fetch, name="oidc-keys", daemon=True).start()
        self._fetching, self._began_at = True, monotonic()

    def _fetch(self) -> None:
        keys = None
        try:
            keys = self._asked_for(monotonic() + TIMEOUT_SECONDS)
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
            log.warning("issuer unavailable", issuer=self._issuer, reason=str(error)[:200])
        finally:
            with self._changed:
                self._settle(keys)
                self._changed.notify_all()

    def _settle(self, keys: list[jwt.PyJWK] | None) -> None:
        self._fetching, self._failing = False, keys is None
        if keys is None:
            self._failed_at = monotonic()
        else:
            # From when they were asked for: what was withdrawn since is not known.
            self._keys, self._fetched_at = keys, self._began_at

    def _asked_for(self, deadline: float) -> list[jwt.PyJWK]:
        """Discovery as old as keys may be is done again, and after every failure: the issuer may
        have moved."""
        if self._failing or monotonic() - self._discovered_at > REFRESH_SECONDS:
            self._jwks_uri = self._discovered(deadline)
            self._discovered_at = monotonic()
        return _signing_keys(document(self._jwks_uri, self._issuer, deadline).get("keys"))

    def _discovered(self, deadline: float) -> str:
        url = self._issuer.rstrip("/") + "/.well-known/openid-configuration"
        said = document(url, self._issuer, deadline)
        if said.get("issuer") != self._issuer:
            raise ValueError("The discovery document names another issuer.")
        uri = said.get("jwks_uri")
        if not isinstance(uri, str):
            raise ValueError("The discovery document names no jwks_uri.")
        return uri


@lru_cache(maxsize=4)
def keys_of(issuer: str) -> Keys:
    """What this process knows of ``issuer``'s keys."""
    return Keys(issuer)


def _signing_keys(given: Any) -> list[jwt.PyJWK]:
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


def may_be_asked(url: str, issuer: str) -> bool:
    """https; and http on loopback where the issuer is there, or anywhere in a trial."""
    parts = urlsplit(url)
    if parts.scheme != "http":
        return parts.scheme == "https"
    return settings.TRIAL or settings.DEBUG or all(_on_loopback(one) for one in (url, issuer))


def _on_loopback(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname in LOOPBACK


def document(
    url: str, issuer: str, deadline: float, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The JSON object at ``url``, not larger than LARGEST_ANSWER, had before ``deadline``.

    Raises OSError, HTTPException, ValueError, RecursionError.
    """
    if not may_be_asked(url, issuer):
        raise ValueError("Its address must be https.")
    request = Request(url, headers={"Accept": "application/json", **(headers or {})})  # noqa: S310  # judged above
    with _opener().open(request, timeout=_left(deadline)) as answer:
        if answer.status != HTTPStatus.OK:
            raise ValueError(f"It answered {answer.status}.")
        body = answer.read(LARGEST_ANSWER + 1)
    if len(body) > LARGEST_ANSWER:
        raise ValueError("Its answer is too large.")
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError("Its answer is no JSON object.")
    return document


def _left(deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError("Its answer took too long.")
    return left


class _HurriedReader(io.RawIOBase):
    """What a socket receives, all of it before a deadline: a timeout of a socket's own counts from
    each byte, and bytes can drip."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._connected, self._deadline = connected, deadline
        self._received = connected.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._connected.settimeout(_left(self._deadline))
        return self._received.readinto(buffer)

    def close(self) -> None:
        self._received.close()
        super().close()


class _Hurried:
    """The part of a socket that http.client reads an answer with."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._connected, self._deadline = connected, deadline

    def makefile(self, mode: str) -> Iterable[bytes]:
        return io.BufferedReader(_HurriedReader(self._connected, self._deadline))


class _Connection(http.client.HTTPConnection):
    """Its timeout is for everything together: connecting, TLS, and the whole answer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline = monotonic() + (self.timeout or 0)

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(_left(self._deadline))

    def response_class(self, sock: Any, **kwargs: Any) -> http.client.HTTPResponse:  # type: ignore[override]  # called as the class would be
        return http.client.HTTPResponse(_Hurried(sock, self._deadline), **kwargs)  # type: ignore[arg-type]  # makefile is all it uses


class _SecureConnection(http.client.HTTPSConnection, _Connection):
    """The same, with TLS on top."""


class _Http(HTTPHandler):
    def http_open(self, req: Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _Https(HTTPSHandler):
    def https_open(self, req: Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureConnection, req, context=ssl.create_default_context())


@cache
def _opener() -> OpenerDirector:
    """urllib without what follows redirects, or opens anything but http and https."""
    opener = OpenerDirector()
    for handler in (ProxyHandler(), _Http(), _Https()):
        opener.add_handler(handler)
    return opener
