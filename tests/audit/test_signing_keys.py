"""The keys of checkpoints and receipts: where they come from, and how they are published."""

import json
import stat
from base64 import b64encode, urlsafe_b64decode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client, override_settings

from audit_app.proof import keys
from audit_app.proof.notes import VerifierKey

# RFC 8037, appendix A.3: the thumbprint of the key of A.1.
RFC_8037_SEED = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
RFC_8037_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.fixture
def new_key(tmp_path):
    file = tmp_path / "key.pem"
    return file, keys.make_key(file)


def test_a_made_key_is_its_owners_alone_and_never_overwritten(new_key):
    file, key = new_key
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with override_settings(AUDIT_SIGNING_KEYS=[str(file)]):
        [found] = keys.signing_keys()
    assert (found.public_bytes, found.active) == (key.public_bytes, True)
    with pytest.raises(FileExistsError):
        keys.make_key(file)


def test_the_thumbprint_is_that_of_the_rfc():
    key = keys.SigningKey(
        Ed25519PrivateKey.from_private_bytes(urlsafe_b64decode(RFC_8037_SEED + "="))
    )
    assert key.thumbprint == RFC_8037_THUMBPRINT


def test_a_value_is_a_key_too_and_the_first_signs(new_key):
    file, key = new_key
    value = b64encode(bytes(range(32))).decode()
    with override_settings(AUDIT_SIGNING_KEYS=[value, str(file)]):
        first, second = keys.signing_keys()
        published = Client().get("/.well-known/jwks.json")
    assert (first.active, second.active) == (True, False)
    assert second.public_bytes == key.public_bytes
    sets = published.json()["keys"]
    assert [each["kid"] for each in sets] == [first.thumbprint, second.thumbprint]
    assert sets[0] == first.as_jwk() | {"kid": first.thumbprint, "use": "sig"}
    assert "alg" not in sets[0]


@pytest.mark.parametrize("given", ["/nowhere/key.pem", "AAAA", ""])
def test_what_is_no_key_is_one_sentence(given):
    expected = pytest.raises(keys.SigningKeyError, match="AUDIT_SIGNING_KEYS must name files")
    with override_settings(AUDIT_SIGNING_KEYS=[given]), expected:
        keys.signing_keys()


def test_a_trial_makes_its_own_once(tmp_path):
    with override_settings(AUDIT_SIGNING_KEYS=[], TRIAL=True, DATA_DIR=tmp_path):
        [first], [again] = keys.signing_keys(), keys.signing_keys()
    assert first.public_bytes == again.public_bytes
    assert [file.name for file in tmp_path.iterdir()] == [keys.TRIAL_FILE]
    with override_settings(AUDIT_SIGNING_KEYS=[], TRIAL=False, DATA_DIR=tmp_path):
        assert keys.signing_keys() == ()


def test_the_command_makes_and_lists(tmp_path, capsys):
    file = tmp_path / "key.pem"
    call_command("audit_key", "--new", str(file), format="json")
    [said] = json.loads(capsys.readouterr().out)["keys"]
    with override_settings(AUDIT_SIGNING_KEYS=[str(file)]):
        call_command("audit_key")
        assert capsys.readouterr().out.strip() == said["verifier_key"]
        [key] = keys.signing_keys()
    assert VerifierKey.parse(said["verifier_key"]).public_bytes == key.public_bytes
    with pytest.raises(CommandError, match="File exists"):
        call_command("audit_key", "--new", str(file))


def test_the_logs_keys_are_published_under_its_origin(sealed_log):
    lines = Client().get("/audit/log/keys").content.decode().splitlines()
    [key] = keys.verifying_keys()
    assert lines == [str(key.verifier_key(sealed_log))]


@pytest.fixture
def sealed_log():
    from audit_app.models import LogEpoch

    return LogEpoch.objects.create(
        number=1, origin="orchestrator.example/audit/log", first_size=0, identity="x", reason="y"
    ).origin


def test_a_holder_of_the_same_keys_gets_304():
    first = Client().get("/.well-known/jwks.json")
    again = Client().get("/.well-known/jwks.json", headers={"if-none-match": first["ETag"]})
    assert (first.status_code, again.status_code) == (200, 304)
