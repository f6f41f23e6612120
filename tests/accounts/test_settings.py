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
