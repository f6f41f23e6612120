"""Checks the issuer's settings against the issuer itself, one sentence per finding."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from django.conf import settings

from orchestrator.accounts.issuer import ClientRefused, request_tokens
from sessions_app.auth.issuer import (
    DISCOVERY,
    UNUSABLE,
    InvalidToken,
    IssuerMisconfigured,
    IssuerUnavailable,
    fetch_discovery,
    fetch_json,
    get_named_algorithms,
    is_allowed_url,
)
from sessions_app.auth.jwks import ALGORITHMS, parse_key
from sessions_app.auth.tokens import verify_bearer

SECONDS = 10


class Level(StrEnum):
    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    sentence: str

    def __str__(self) -> str:
        return f"{self.level}: {self.sentence}"

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def _ok(sentence: str) -> Finding:
    return Finding(Level.OK, sentence)


def _note(sentence: str) -> Finding:
    return Finding(Level.NOTE, sentence)


def _problem(sentence: str) -> Finding:
    return Finding(Level.PROBLEM, sentence)


def check_issuer() -> Iterator[Finding]:
    """Everything about OIDC_ISSUER_URL and the settings beside it that can be checked from here.

    Sends requests to the issuer, and one for tokens with an invalid code, to see whether it accepts
    our client.
    """
    url = settings.OIDC_ISSUER_URL
    if misspelt := _find_misspelling(url):
        yield _problem(misspelt)
        return
    address = url.rstrip("/") + DISCOVERY
    try:
        metadata = fetch_discovery(url, seconds=SECONDS)
    except IssuerMisconfigured as error:
        yield _problem(f"{error} OIDC_ISSUER_URL must be the issuer exactly as tokens name it.")
        return
    except UNUSABLE as error:
        yield _problem(f"{address} gives no discovery document: {_explain(error)}")
        return
    yield _ok(f"{address} is a discovery document.")
    issuer = metadata.get("issuer")
    if issuer != url:
        yield _problem(
            f"OIDC_ISSUER_URL is {url!r}, but the issuer calls itself {issuer!r}. If you mean that "
            f"one, set OIDC_ISSUER_URL={issuer}"
        )
        return
    yield _ok(f"The issuer calls itself {url}, as OIDC_ISSUER_URL does.")
    findings = list(_check_keys(url, metadata))
    yield from findings
    if any(finding.level is Level.PROBLEM for finding in findings):
        return
    if settings.OIDC_AUDIENCE:
        yield from _check_audience()
    if settings.SINGLE_SIGN_ON:
        yield from _check_login(url, metadata)


def check_token(token: str) -> Finding:
    """Whether ``token`` would be accepted as an agent's or a person's."""
    try:
        bearer = verify_bearer(token)
    except (InvalidToken, IssuerUnavailable) as error:
        return _problem(f"The token is refused: {error}")
    roles = "" if bearer.roles is None else f", with the roles {', '.join(bearer.roles) or 'none'}"
    return _ok(f"The token is accepted. Its subject is {bearer.subject!r}{roles}.")


def _find_misspelling(url: str) -> str:
    """What is wrong with ``url`` by itself; "" if nothing is."""
    if url.rstrip("/").endswith(DISCOVERY):
        return f"OIDC_ISSUER_URL must end before {DISCOVERY}."
    if not is_allowed_url(url, url):
        return f"OIDC_ISSUER_URL must begin with https://; it is {url!r}."
    if "?" in url or "#" in url:
        return f"OIDC_ISSUER_URL must have no query and no fragment; it is {url!r}."
    return ""


def _explain(error: Exception) -> str:
    """The error of a request, as a sentence."""
    if isinstance(error, RecursionError) or type(error).__module__.startswith("json"):
        return "Its answer is no JSON."
    sentence = str(error) or "It can't be read."
    return sentence if sentence.endswith(".") else f"{sentence}."


def _check_keys(url: str, metadata: Mapping[str, Any]) -> Iterator[Finding]:
    uri = metadata.get("jwks_uri")
    if not isinstance(uri, str):
        yield _problem("The discovery document names no jwks_uri, so no token can be checked.")
        return
    try:
        keys = fetch_json("GET", uri, url, seconds=SECONDS).get("keys")
    except UNUSABLE as error:
        yield _problem(f"The keys at {uri} can't be had: {_explain(error)}")
        return
    if not isinstance(keys, list):
        yield _problem(f"{uri} is no set of keys.")
        return
    named, usable = get_named_algorithms(metadata), False
    for jwk in keys:
        name = repr(jwk.get("kid")) if isinstance(jwk, dict) else "without a name"
        try:
            key = parse_key(jwk, named)
        except ValueError as error:
            yield _note(f"The key {name} is not used: it {error}.")
            continue
        if key.algorithms:
            usable = True
            yield _ok(f"The key {name} verifies {', '.join(sorted(key.algorithms))}.")
        else:
            yield _note(f"The key {name} is not used: its alg is none of those that fit it.")
    if not usable:
        accepted = ", ".join(ALGORITHMS)
        yield _problem(f"None of the keys at {uri} can verify a token. Accepted are {accepted}.")


def _check_audience() -> Iterator[Finding]:
    if settings.OIDC_AUDIENCE == settings.ADMIN_OIDC_CLIENT_ID:
        yield _note(
            "OIDC_AUDIENCE is ADMIN_OIDC_CLIENT_ID: access tokens and people's ID tokens then have "
            "the same audience. Give the API an audience of its own."
        )


def _check_login(url: str, metadata: Mapping[str, Any]) -> Iterator[Finding]:
    missing = False
    for name in ("authorization_endpoint", "token_endpoint"):
        endpoint = metadata.get(name)
        if not isinstance(endpoint, str):
            missing = True
            yield _problem(f"The discovery document names no {name}, so nobody can sign in.")
        elif not is_allowed_url(endpoint, url):
            missing = True
            yield _problem(f"The {name} must begin with https://; it is {endpoint!r}.")
    if missing:
        return
    yield from _check_lists(metadata)
    yield from _check_authentication(metadata)
    yield _check_client(metadata)
    for name, lack in (
        ("userinfo_endpoint", "Groups and addresses must be in ID tokens."),
        ("end_session_endpoint", "Nobody can sign out at the issuer from here."),
    ):
        if name not in metadata:
            yield _note(f"The discovery document names no {name}. {lack}")


def _check_lists(metadata: Mapping[str, Any]) -> Iterator[Finding]:
    """What the issuer lists, against what a sign-in sends. A list that is missing says nothing."""
    paths = (settings.ADMIN_OIDC_USERNAME_CLAIM, settings.ADMIN_OIDC_GROUPS_CLAIM)
    claims = [path.partition(".")[0] for path in paths]
    scopes, levels = settings.ADMIN_OIDC_SCOPES.split(), settings.ADMIN_OIDC_ACR_VALUES
    for level, name, wanted, purpose in (
        (Level.PROBLEM, "response_types_supported", ["code"], "the authorization code flow"),
        (Level.PROBLEM, "scopes_supported", scopes, "ADMIN_OIDC_SCOPES"),
        (Level.PROBLEM, "acr_values_supported", levels, "ADMIN_OIDC_ACR_VALUES"),
        # Issuers may support more than they list here.
        (Level.NOTE, "code_challenge_methods_supported", ["S256"], "PKCE"),
        (Level.NOTE, "claims_supported", claims, "usernames and groups"),
    ):
        listed = metadata.get(name)
        if isinstance(listed, list) and (lacking := [one for one in wanted if one not in listed]):
            sentence = f"The issuer's {name} lacks {', '.join(lacking)}, needed for {purpose}."
            yield Finding(level, sentence)


def _check_authentication(metadata: Mapping[str, Any]) -> Iterator[Finding]:
    name = "token_endpoint_auth_methods_supported"
    methods = metadata.get(name)
    ways = ("client_secret_basic", "client_secret_post")
    if isinstance(methods, list) and not any(way in methods for way in ways):
        yield _problem(
            f"The issuer's {name} has neither client_secret_basic nor client_secret_post, and this "
            "site has no other way to authenticate."
        )


def _check_client(metadata: Mapping[str, Any]) -> Finding:
    """Whether the token endpoint accepts our client, by a code that can't be valid."""
    form = {
        "grant_type": "authorization_code",
        "code": "check_issuer",
        "code_verifier": "x" * 64,
        "redirect_uri": f"{settings.PUBLIC_URL.rstrip('/')}/admin/single-sign-on/callback/",
    }
    try:
        request_tokens(form)
    except ClientRefused as error:
        return _problem(str(error))
    except IssuerUnavailable as error:
        endpoint = metadata["token_endpoint"]
        return _problem(f"The token endpoint {endpoint} can't be used: {_explain(error)}")
    except InvalidToken:
        pass
    return _ok("The token endpoint accepts ADMIN_OIDC_CLIENT_ID and ADMIN_OIDC_CLIENT_SECRET.")
