"""Operators ask what is wrong with the issuer's settings, and are told word by word."""

import io
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from sessions_app.auth import issuer as client
from tests.accounts.conftest import provider  # noqa: F401  # the fixture
from tests.accounts.provider import CLIENT_ID

Check = Callable[..., tuple[dict[str, Any], int]]


@pytest.fixture(autouse=True)
def _new_issuers():
    client.get_issuer.cache_clear()
    yield
    client.get_issuer.cache_clear()


@pytest.fixture
def check() -> Check:
    """The findings by level, and the status."""

    def run(*args: str) -> tuple[dict[str, list[str]], int]:
        out, status = io.StringIO(), 0
        try:
            call_command("check_issuer", *args, "--format", "json", stdout=out)
        except CommandError as error:
            status = error.returncode
        findings = json.loads(out.getvalue())["findings"]
        by_level: dict[str, list[str]] = {"ok": [], "note": [], "problem": []}
        for finding in findings:
            by_level[finding["level"]].append(finding["sentence"])
        return by_level, status

    return run


def expect_problem(check: Check, *words: str) -> None:
    findings, status = check()
    assert status == 1
    (problem,) = findings["problem"]
    for word in words:
        assert word in problem


def test_all_is_well(provider, check):  # noqa: F811
    findings, status = check()
    assert (status, findings["problem"], findings["note"]) == (0, [], [])
    text = " ".join(findings["ok"])
    assert "The key 'EdDSA' verifies Ed25519, EdDSA." in text
    assert "accepts ADMIN_OIDC_CLIENT_ID" in text


def test_people_read_one_line_a_finding(provider, capsys):  # noqa: F811
    call_command("check_issuer")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3
    assert all(line.startswith("ok: ") for line in lines)


def test_no_issuer_is_one_sentence(settings):
    settings.OIDC_ISSUER_URL = ""
    with pytest.raises(CommandError, match="OIDC_ISSUER_URL is not set"):
        call_command("check_issuer")


@pytest.mark.parametrize("given", ["{}/", "{}/.well-known/openid-configuration", "{}?a=b"])
def test_another_spelling_of_the_issuer(provider, settings, check, given):  # noqa: F811
    settings.OIDC_ISSUER_URL = given.format(provider.url)
    expect_problem(check, "OIDC_ISSUER_URL")


def test_the_right_spelling_is_told(provider, settings, check):  # noqa: F811
    settings.OIDC_ISSUER_URL = provider.url + "/"
    expect_problem(check, f"set OIDC_ISSUER_URL={provider.url}")


def test_an_address_without_an_issuer(provider, settings, check):  # noqa: F811
    settings.OIDC_ISSUER_URL = provider.url + "/realms/mian"
    expect_problem(check, f"{provider.url}/realms/mian/.well-known/openid-configuration")


def test_plain_http(settings, check):
    settings.TRIAL = settings.DEBUG = False
    settings.OIDC_ISSUER_URL = "http://id.example"
    expect_problem(check, "must begin with https://", "'http://id.example'")


def test_nobody_answers(settings, check):
    settings.OIDC_ISSUER_URL = "http://127.0.0.1:9"
    expect_problem(check, "gives no discovery document", "Connection refused")


def test_an_issuer_that_fails(provider, check):  # noqa: F811
    provider.up = False
    expect_problem(check, "It answered 503.")


@pytest.mark.parametrize(
    ("discovery", "words"),
    [
        ({"jwks_uri": None}, ["no jwks_uri"]),
        ({"jwks_uri": "http://127.0.0.1:9/keys"}, ["127.0.0.1:9/keys", "Connection refused"]),
        ({"token_endpoint": None}, ["no token_endpoint"]),
        ({"scopes_supported": ["openid", "email"]}, ["profile", "ADMIN_OIDC_SCOPES"]),
        ({"response_types_supported": ["id_token"]}, ["code"]),
        (
            {"token_endpoint_auth_methods_supported": ["private_key_jwt"]},
            ["neither client_secret_basic nor client_secret_post"],
        ),
        ({"token_endpoint": "http://127.0.0.1:9/token"}, ["token endpoint", "127.0.0.1:9"]),
    ],
    ids=str,
)
def test_what_the_document_lacks(provider, check, discovery, words):  # noqa: F811
    provider.discovery = discovery
    expect_problem(check, *words)


def test_levels_that_the_issuer_does_not_know(provider, settings, check):  # noqa: F811
    settings.ADMIN_OIDC_ACR_VALUES = ["gold", "silver"]
    provider.discovery = {"acr_values_supported": ["silver", "bronze"]}
    expect_problem(check, "lacks gold", "ADMIN_OIDC_ACR_VALUES")


def test_keys_that_are_not_used_are_named(provider, check, monkeypatch):  # noqa: F811
    keys = provider.keys.public()
    odd = [
        {**keys[0], "kid": "for encryption", "use": "enc"},
        {**keys[0], "kid": "odd alg", "alg": "ES256"},
        {"kty": "oct", "kid": "secret", "k": "c2VjcmV0"},
        {"kty": "RSA", "kid": "broken"},
        7,
    ]
    monkeypatch.setattr(provider.keys, "public", lambda: odd)
    findings, status = check()
    assert status == 1
    assert "None of the keys" in findings["problem"][0]
    notes = " ".join(findings["note"])
    for words in (
        "'for encryption' is not used: it is not for signatures",
        "'odd alg' is not used: its alg",
        "'secret' is not used: it is of a kind",
        "'broken' is not used: it can't be read",
        "without a name is not used",
    ):
        assert words in notes


@pytest.mark.parametrize("name", ["ADMIN_OIDC_CLIENT_ID", "ADMIN_OIDC_CLIENT_SECRET"])
def test_a_client_that_is_refused(provider, settings, check, name):  # noqa: F811
    setattr(settings, name, "wrong")
    expect_problem(check, "invalid_client", name)


def test_an_audience_that_is_the_clients(provider, settings, check):  # noqa: F811
    settings.OIDC_AUDIENCE = CLIENT_ID
    findings, status = check()
    assert status == 0
    assert "an audience of its own" in findings["note"][0]


class TestATokenOnStandardInput:
    def check(self, check, monkeypatch, provider, **claims):  # noqa: F811
        now = int(time.time())
        claims = {"iss": provider.url, "aud": "api", "sub": "svc", "exp": now + 60} | claims
        key = provider.keys.private["RS256"]
        token = jwt.encode(claims, key, "RS256", {"kid": "RS256"})
        monkeypatch.setattr("sys.stdin", io.StringIO(token + "\n"))
        return check("--token-stdin")

    def test_one_that_is_accepted(self, provider, settings, check, monkeypatch):  # noqa: F811
        settings.OIDC_AUDIENCE, settings.OIDC_ROLES_CLAIM = "api", "roles"
        findings, status = self.check(check, monkeypatch, provider, roles=["sre"])
        assert status == 0
        assert findings["ok"][-1].endswith("Its subject is 'svc', with the roles sre.")

    def test_one_that_is_refused(self, provider, settings, check, monkeypatch):  # noqa: F811
        settings.OIDC_AUDIENCE = "another"
        findings, status = self.check(check, monkeypatch, provider)
        assert status == 1
        assert "another audience" in findings["problem"][0]
