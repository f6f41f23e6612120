"""A wrong setting for the issuer is one plain sentence at the start."""

import os
import subprocess
import sys

import pytest

ISSUER = {"OIDC_ISSUER_URL": "https://id.example", "OIDC_AUDIENCE": "orchestrator"}


def check(**given: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "manage.py", "check"],
        env=os.environ | ISSUER | given,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("OIDC_ROLES_MAP", "{", "OIDC_ROLES_MAP must be JSON, or a file of it."),
        ("OIDC_ROLES_MAP", "/does/not/exist", "can't be read: No such file or directory."),
        ("ADMIN_OIDC_GROUPS_MAP", '{"a": ["b"]}', "must name one role for each value."),
        ("ADMIN_OIDC_GROUPS_MAP", '{"a": ""}', "must name one role for each value."),
        ("OIDC_CLOCK_SKEW", "1h", "OIDC_CLOCK_SKEW must be at most 5m."),
        ("OIDC_CLOCK_SKEW", "soon", "OIDC_CLOCK_SKEW: 'soon' is not a length of time"),
    ],
)
def test_one_that_is_wrong_is_named(name, value, why):
    started = check(**{name: value})
    assert started.returncode != 0
    assert why in started.stderr


def test_a_map_is_json_or_a_file_of_it(tmp_path):
    (tmp_path / "map.json").write_text('{"0b7f6a4e-6a1e": "finance"}')
    started = check(
        OIDC_ROLES_MAP='{"0b7f6a4e-6a1e": "support"}',
        ADMIN_OIDC_GROUPS_MAP=str(tmp_path / "map.json"),
        ADMIN_OIDC_ACR_VALUES="gold silver",
        OIDC_ROLES_ALLOWED="support,sre",
        OIDC_CLOCK_SKEW="2m",
    )
    assert started.returncode == 0, started.stderr


@pytest.mark.parametrize(
    ("given", "origins", "domain"),
    [
        (
            {"PASSKEY_ORIGINS": "https://a.example/, https://b.a.example", "PASSKEY_DOMAIN": ""},
            ["https://a.example", "https://b.a.example"],
            "a.example",
        ),
        ({"PUBLIC_URL": "https://id.example:8443/"}, ["https://id.example:8443"], "id.example"),
        ({"PUBLIC_URL": "http://id.example"}, [], ""),
        ({"TRIAL": "on", "PORT": "8080"}, ["http://localhost:8080"], "localhost"),
        ({"TRIAL": "off", "SECRET_KEY": "x" * 64, "ALLOWED_HOSTS": "id.example"}, [], ""),
    ],
)
def test_passkeys_belong_to_the_sites_own_address(given, origins, domain):
    code = "from orchestrator import settings as s; print(s.PASSKEY_ORIGINS, s.PASSKEY_DOMAIN)"
    told = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PUBLIC_URL": "", "PASSKEY_ORIGINS": ""} | given,
        capture_output=True,
        text=True,
    )
    assert told.stdout.strip() == f"{origins} {domain}".strip(), told.stderr


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"PASSKEY_ORIGINS": "http://a.example"}, "PASSKEY_ORIGINS must be a list of https://"),
        ({"PASSKEY_ORIGINS": "https://a.example/path"}, "PASSKEY_ORIGINS must be a list"),
        ({"PASSKEY_ORIGINS": "http://127.0.0.1:8000"}, "PASSKEY_ORIGINS must be a list"),
        (
            {"PASSKEY_ORIGINS": "https://a.example", "PASSKEY_DOMAIN": "example.a"},
            "PASSKEY_DOMAIN must be a domain of all PASSKEY_ORIGINS.",
        ),
    ],
)
def test_passkeys_at_an_address_where_no_browser_uses_them_are_refused(given, why):
    started = check(**given)
    assert started.returncode != 0
    assert why in started.stderr
