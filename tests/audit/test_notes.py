"""Signed notes and cosignatures, against the formats' own examples and themselves."""

import contextlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from audit_app.proof import notes
from audit_app.proof.keys import SigningKey
from audit_app.proof.notes import (
    COSIGNATURE_V1,
    Note,
    NoteError,
    VerifierKey,
    cosign_note,
    parse_note,
    sign_note,
    verify_cosignature,
    verify_note,
)

pytestmark = pytest.mark.pure

# The example of golang.org/x/mod/sumdb/note, from which the format comes.
EXAMPLE_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
EXAMPLE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"  # noqa: E501
)
KEY, OTHER = (SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)) for n in (1, 2))
TEXT = "example.org/audit/log\n3\nAAAA\n"


def test_the_formats_own_example_verifies():
    key = VerifierKey.parse(EXAMPLE_KEY)
    assert str(key) == EXAMPLE_KEY
    assert verify_note(EXAMPLE, "PeterNeumann", [key])
    assert str(parse_note(EXAMPLE)) == EXAMPLE
    assert not verify_note(EXAMPLE.replace("answer", "Answer"), "PeterNeumann", [key])


def test_what_is_signed_is_verified_by_that_key_and_name_alone():
    note = sign_note(TEXT, "example.org/audit/log", KEY)
    assert verify_note(note, "example.org/audit/log", [KEY])
    assert verify_note(note, "example.org/audit/log", [OTHER, KEY])
    assert not verify_note(note, "example.org/audit/log", [OTHER])
    assert not verify_note(note, "example.org/audit/log-2", [KEY])
    assert not verify_note(note, "example.org/audit/log", [])


def test_signatures_of_strangers_are_ignored_and_a_wrong_one_of_ours_is_not():
    note = parse_note(sign_note(TEXT, "us", KEY))
    strange = parse_note(sign_note(TEXT, "them", OTHER)).signatures
    assert verify_note(str(Note(note.text, note.signatures + strange)), "us", [KEY])
    [mine] = note.signatures
    wrong = notes.Signature(mine.name, mine.key_id, bytes(64))
    assert not verify_note(str(Note(note.text, (mine, wrong))), "us", [KEY])


def test_a_witness_says_when_it_saw_the_log():
    note = sign_note(TEXT, "us", KEY)
    witness = VerifierKey("witness.example", OTHER.public_bytes, COSIGNATURE_V1)
    assert VerifierKey.parse(str(witness)) == witness
    parsed = parse_note(note)
    cosigned = Note(
        parsed.text,
        (*parsed.signatures, cosign_note(note, "witness.example", OTHER, at=1_790_000_000)),
    )
    assert verify_note(str(cosigned), "us", [KEY])
    assert verify_cosignature(parse_note(str(cosigned)), witness) == 1_790_000_000
    assert verify_cosignature(parsed, witness) is None
    changed = Note(cosigned.text.replace("3", "4"), cosigned.signatures)
    assert verify_cosignature(changed, witness) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "text\n",
        "text\n\n",
        "text\n\nname AAAA\n",
        "text\n\n— name AAAA",
        "text\n\n— name AAAA\n",
        "text\n\n— na+me AAAAAAAA\n",
        "text\n\n— name !!!!!!!!\n",
        "te\x00xt\n\n— name AAAAAAAA\n",
        "text\n\n" + "— name AAAAAAAA\n" * 101,
    ],
)
def test_what_is_no_note_is_one_error(text):
    with pytest.raises(NoteError):
        parse_note(text)
    assert not verify_note(text, "name", [KEY])


@pytest.mark.parametrize(
    "text", ["", "name", "name+00000000+AAAA", EXAMPLE_KEY.replace("c7", "c8")]
)
def test_what_is_no_verifier_key_is_one_error(text):
    with pytest.raises(NoteError):
        VerifierKey.parse(text)


@given(st.text(), st.text())
def test_any_text_is_a_note_or_one_error(text, rest):
    with contextlib.suppress(NoteError):
        parse_note(f"{text}\n\n{rest}")
