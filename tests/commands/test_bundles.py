"""A bundle is checked without a database, and says what was done to it."""

import json
import re
import shutil

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit_app.models import Checkpoint
from audit_app.proof import notes, sealing
from audit_app.proof.keys import SigningKey
from tests.commands.conftest import expect_failure, run_for_output
from tests.factories import TaskFactory
from tests.trail import wait_until_stable


@pytest.fixture
def bundle(bot, tmp_path):
    """Of a trail that was sealed in two steps, with an event more."""
    for _ in range(2):
        TaskFactory(agent=bot, description="Grüße 𝄞")
        wait_until_stable()
        while sealing.seal_batch():
            pass
    TaskFactory(agent=bot)
    run_for_output("export_audit", "--bundle", str(tmp_path / "bundle"))
    return tmp_path / "bundle"


def verify(bundle, *args):
    return run_for_output("verify_audit", str(bundle), *args)


def findings(bundle, *args):
    """What is found beside the manifest's digest, as its author would have changed that, too."""
    out, _ = expect_failure("verify_audit", str(bundle), *args)
    return [line for line in out.splitlines() if "manifest" not in line]


def rewrite(bundle, name, change):
    lines = (bundle / name).read_bytes().splitlines(keepends=True)
    (bundle / name).write_bytes(b"".join(change(lines)))


def test_it_is_whole(bundle):
    assert re.fullmatch(
        r"The trail is whole: \d+ events of \d+ subjects, \d+ of them sealed, by the keys in the "
        r"bundle\.\n",
        verify(bundle),
    )


def test_keys_that_were_kept_elsewhere(bundle, tmp_path):
    kept = tmp_path / "kept"
    shutil.copy(bundle / "keys", kept)
    assert "keys in the bundle" not in verify(bundle, "--keys", str(kept))
    assert "keys in the bundle" not in verify(bundle, "--key", kept.read_text())
    other = SigningKey(Ed25519PrivateKey.generate()).verifier_key(
        Checkpoint.objects.first().epoch.origin
    )
    assert "none of the keys" in findings(bundle, "--key", str(other))[0]


def test_two_exports_are_equal(bundle, tmp_path):
    run_for_output("export_audit", "--bundle", str(tmp_path / "again"))
    for path in bundle.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_it_replaces_nothing(bundle):
    _, error = expect_failure("export_audit", "--bundle", str(bundle))
    assert "already there" in error


def change_second(lines):
    return [lines[0], lines[1].replace(b'"actor":"', b'"actor":"x'), *lines[2:]]


CHANGES = {
    "changed: ": change_second,
    "removed: ": lambda lines: [lines[0], *lines[2:]],
    "inserted: ": lambda lines: [*lines[:2], lines[1].replace(b"a", b"b", 1), *lines[2:]],
}


@pytest.mark.parametrize("what", CHANGES)
def test_an_entry(bundle, what):
    rewrite(bundle, "entries.jsonl", CHANGES[what])
    found = "\n".join(findings(bundle))
    where = {"changed: ": "line 2:", "removed: ": "leaf 1:", "inserted: ": "line 3:"}[what]
    assert f"{what}entries.jsonl, {where}" in found
    assert "is not what it signed" in found


def test_two_entries_that_changed_places(bundle):
    rewrite(bundle, "entries.jsonl", lambda lines: [lines[1], lines[0], *lines[2:]])
    assert findings(bundle)


def test_the_last_entries_with_their_checkpoint(bundle):
    """Only the size that somebody kept tells; what is left is a tree that was signed."""
    rewrite(bundle, "entries.jsonl", lambda lines: lines[:-1])
    assert any("of which" in line for line in findings(bundle))


def test_a_checkpoint(bundle):
    rewrite(bundle, "checkpoints.jsonl", lambda lines: lines[1:])
    assert "1 before it are missing" in findings(bundle)[0]


def test_all_sealed_anew_with_another_key(bundle, tmp_path):
    kept = (bundle / "keys").read_text()
    forger, origin = (
        SigningKey(Ed25519PrivateKey.generate()),
        Checkpoint.objects.first().epoch.origin,
    )

    def sign(lines):
        for line in lines:
            row = json.loads(line)
            text = notes.parse_note(row["note"]).text
            row["note"] = notes.sign_note(text, origin, forger)
            yield json.dumps(row).encode() + b"\n"

    rewrite(bundle, "checkpoints.jsonl", sign)
    (bundle / "keys").write_text(f"{forger.verifier_key(origin)}\n")
    assert "none of the keys" in findings(bundle, "--key", kept)[0]


def test_a_cosignature(bundle):
    witness = SigningKey(Ed25519PrivateKey.generate())
    key = notes.VerifierKey("witness.example", witness.public_bytes, notes.COSIGNATURE_V1)
    log_keys = (bundle / "keys").read_text()

    def cosign(lines):
        for line in lines:
            row = json.loads(line)
            row["note"] += (
                f"{notes.cosign_note(row['note'], key.name, witness, at=1_800_000_000)}\n"
            )
            yield json.dumps(row).encode() + b"\n"

    rewrite(bundle, "checkpoints.jsonl", cosign)
    assert findings(bundle, "--key", log_keys, "--key", str(key)) == []
    rewrite(
        bundle,
        "checkpoints.jsonl",
        lambda lines: [x.replace(b"witness.example ", b"witness.example A") for x in lines],
    )
    assert findings(bundle, "--key", log_keys, "--key", str(key))


@pytest.mark.parametrize("name", ["entries.jsonl", "leaves", "checkpoints.jsonl", "keys"])
def test_a_missing_file(bundle, name):
    (bundle / name).unlink()
    assert any(line.startswith(f"removed: {name}") for line in findings(bundle))


def test_a_file_more(bundle):
    (bundle / "more").touch()
    assert "inserted: more" in findings(bundle)[0]


def test_no_database_is_needed(bundle, manage):
    process = manage("verify_audit", str(bundle), DATABASE_URL="postgres://nobody@127.0.0.1:9/none")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.startswith("The trail is whole")
