"""Which cosignatures are enough (c2sp.org/tlog-policy)."""

import contextlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from audit_app.proof.keys import SigningKey
from audit_app.proof.notes import (
    COSIGNATURE_V1,
    ED25519,
    Note,
    VerifierKey,
    cosign_note,
    parse_note,
    sign_note,
)
from audit_app.proof.trust_policy import PolicyError, TrustPolicy

pytestmark = pytest.mark.pure

KEYS = {
    name: SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32))
    for n, name in enumerate("abcd", 1)
}
NOTE = sign_note("log.example\n3\nAAAA\n", "log.example", KEYS["d"])


def verifier(name, kind=COSIGNATURE_V1):
    return VerifierKey(f"{name}.example", KEYS[name].public_bytes, kind)


WITNESSES = "".join(f"witness {name} {verifier(name)} https://{name}.example/\n" for name in "abc")


def cosign(names):
    own = parse_note(NOTE)
    lines = [cosign_note(NOTE, f"{name}.example", KEYS[name], at=1) for name in names]
    return Note(own.text, (*own.signatures, *lines))


@pytest.mark.parametrize(
    ("rest", "enough", "too_few"),
    [
        ("quorum none", [""], []),
        ("quorum b", ["b", "ab"], ["", "ac"]),
        ("group g any a b c\nquorum g", ["a", "b", "abc"], [""]),
        ("group g all a b\nquorum g", ["ab", "abc"], ["a", "c", ""]),
        ("group g 2 a b c\nquorum g", ["ab", "bc", "abc"], ["a", "b", ""]),
        ("group g any b c\ngroup h all a g\nquorum h", ["ab", "ac"], ["a", "bc", ""]),
        ("  # a comment\n\tquorum\ta", ["a"], ["b"]),
    ],
)
def test_a_quorum_counts_witnesses_and_groups(rest, enough, too_few):
    policy = TrustPolicy.parse(f"# ours\nlog {verifier('d', ED25519)}\n\n{WITNESSES}{rest}")
    assert [str(log) for log in policy.logs] == [str(verifier("d", ED25519))]
    assert policy.witnesses["a"].url == "https://a.example"
    assert [policy.is_satisfied(cosign(names)) for names in enough] == [True] * len(enough)
    assert [policy.is_satisfied(cosign(names)) for names in too_few] == [False] * len(too_few)


def test_a_cosignature_of_another_text_does_not_count():
    policy = TrustPolicy.parse(f"{WITNESSES}quorum a")
    other = cosign("a")
    assert not policy.is_satisfied(Note(other.text.replace("3", "4"), other.signatures))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "Line 1: It is no line"),
        ("log nonsense", "Line 1: A verifier key is"),
        (f"witness a {verifier('a', ED25519)}", "Line 1: A witness's key is one for cosignatures"),
        (f"{WITNESSES}witness a {verifier('a')}", "Line 4: The name a is taken"),
        (f"witness none {verifier('a')}", "Line 1: The name none is taken"),
        (f"{WITNESSES}group g 4 a b c", "Line 4: A group needs"),
        (f"{WITNESSES}group g 0 a b c", "Line 4: A group needs"),
        (f"{WITNESSES}group g any a a", "Line 4: A group needs"),
        (f"{WITNESSES}group g any", "Line 4: It is no line"),
        (f"{WITNESSES}group g any x", "Line 4: There is no witness or group x above"),
        (f"{WITNESSES}group g any g", "Line 4: There is no witness or group g above"),
        (f"{WITNESSES}quorum x", "Line 4: There is no witness or group x above"),
        (f"{WITNESSES}quorum a\nquorum b", "Line 5: It is no line"),
        (WITNESSES, "It has no quorum line"),
        (
            f"{WITNESSES}witness d {VerifierKey('d', KEYS['a'].public_bytes, COSIGNATURE_V1)}",
            "Line 4: Two witnesses can't have one key",
        ),
        (f"{WITNESSES}group g any a b\ngroup h all a c", "Line 5: a is in a group above already"),
    ],
)
def test_what_is_no_policy_says_where(text, reason):
    with pytest.raises(PolicyError) as refused:
        TrustPolicy.parse(text)
    assert str(refused.value).startswith(reason)


@given(st.text())
def test_any_text_is_a_policy_or_one_error(text):
    with contextlib.suppress(PolicyError):
        assert isinstance(TrustPolicy.parse(text).is_satisfied(parse_note(NOTE)), bool)
