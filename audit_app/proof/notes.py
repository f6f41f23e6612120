"""Signed notes (c2sp.org/signed-note), in which checkpoints of a log are published.

A note is a text that ends with a line break, an empty line, and one line a signature:
``— NAME BASE64``, whose bytes are the key's 4-byte id and the signature. Cosignatures of witnesses
(c2sp.org/tlog-cosignature, version 1) stand beside them; theirs begin with the time in seconds.
"""

import binascii
import hashlib
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ED25519 = b"\x01"
COSIGNATURE_V1 = b"\x04"
ID_SIZE, KEY_SIZE, SIGNATURE_SIZE, TIME_SIZE = 4, 32, 64, 8
NAME = re.compile(r"[^\s+]+")
MARK = "— "
MAX_SIGNATURES = 100


class NoteError(ValueError):
    """The text is no signed note, or no verifier key."""


class KeyPair(Protocol):
    """What signs: an Ed25519 key."""

    @property
    def private(self) -> Ed25519PrivateKey: ...


class PublicKey(Protocol):
    """What verifies: the 32 bytes of an Ed25519 public key."""

    @property
    def public_bytes(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature of a note: whose it says it is, the id of the key, and what was signed."""

    name: str
    key_id: bytes
    value: bytes

    def __str__(self) -> str:
        return f"{MARK}{self.name} {b64encode(self.key_id + self.value).decode()}"


@dataclass(frozen=True, slots=True)
class Note:
    """A signed text, which ends with a line break, and its signatures."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return "\n".join([self.text, *map(str, self.signatures), ""])


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key under a name, in the form in which it is published: ``NAME+ID+BASE64``."""

    name: str
    public_bytes: bytes
    kind: bytes = ED25519

    @property
    def key_id(self) -> bytes:
        return make_key_id(self.name, self.public_bytes, self.kind)

    def __str__(self) -> str:
        encoded = b64encode(self.kind + self.public_bytes).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises NoteError."""
        name, *parts = text.strip().split("+", 2)
        key = _decode(parts[1]) if len(parts) == 2 else b""
        found = cls(name, key[1:], key[:1])
        if len(key) != 1 + KEY_SIZE or found.kind not in (ED25519, COSIGNATURE_V1):
            raise NoteError("A verifier key is NAME+ID+KEY, and its key an Ed25519 one.")
        if not NAME.fullmatch(name) or found.key_id.hex() != parts[0].lower():
            raise NoteError("The id of a verifier key is not that of its name and key.")
        return found


def make_key_id(name: str, public_bytes: bytes, kind: bytes = ED25519) -> bytes:
    """The 4 bytes that signatures name their key by."""
    return hashlib.sha256(name.encode() + b"\n" + kind + public_bytes).digest()[:ID_SIZE]


def sign_note(text: str, name: str, key: KeyPair) -> str:
    """The note of ``text``, signed by ``key`` under ``name``. Raises NoteError for another text."""
    if not text.endswith("\n") or not NAME.fullmatch(name):
        raise NoteError("A note ends with a line break; its signer's name has no blank or plus.")
    public = key.private.public_key().public_bytes_raw()
    value = key.private.sign(text.encode())
    return str(Note(text, (Signature(name, make_key_id(name, public), value),)))


def parse_note(note: str) -> Note:
    """Raises NoteError."""
    text, separator, rest = note.rpartition("\n\n")
    lines = rest.split("\n")
    if not separator or lines.pop() or not lines or len(lines) > MAX_SIGNATURES:
        raise NoteError("A signed note is a text, an empty line, and signatures.")
    if any(ord(character) < 0x20 and character != "\n" for character in note):
        raise NoteError("A signed note has no control characters.")
    return Note(f"{text}\n", tuple(map(_parse_signature, lines)))


def verify_note(note: str, name: str, keys: Iterable[PublicKey]) -> bool:
    """Whether one of ``keys`` signed ``note`` under ``name``, and none signed it wrongly.

    What other keys signed is ignored, as the format asks.
    """
    try:
        parsed = parse_note(note)
    except NoteError:
        return False
    known = {make_key_id(name, key.public_bytes): key.public_bytes for key in keys}
    ours = [each for each in parsed.signatures if each.name == name and each.key_id in known]
    return bool(ours) and all(
        verify_bytes(known[each.key_id], each.value, parsed.text.encode()) for each in ours
    )


def cosign_note(note: str, name: str, key: KeyPair, *, at: int) -> Signature:
    """A witness's signature: that it saw the note's log at ``at``, in seconds since 1970."""
    public = key.private.public_key().public_bytes_raw()
    value = at.to_bytes(TIME_SIZE, "big") + key.private.sign(
        _encode_cosigned(parse_note(note).text, at)
    )
    return Signature(name, make_key_id(name, public, COSIGNATURE_V1), value)


def verify_cosignature(note: Note, key: VerifierKey) -> int | None:
    """When the witness with ``key`` cosigned ``note``, in seconds since 1970; None if it did not.

    Of several cosignatures of one key the last valid one counts.
    """
    times = []
    for each in note.signatures:
        if (each.name, each.key_id) != (key.name, key.key_id):
            continue
        at = int.from_bytes(each.value[:TIME_SIZE], "big")
        if verify_bytes(key.public_bytes, each.value[TIME_SIZE:], _encode_cosigned(note.text, at)):
            times.append(at)
    return max(times, default=None)


def verify_bytes(public_bytes: bytes, signature: bytes, signed: bytes) -> bool:
    """Whether ``signature`` is the Ed25519 one (RFC 8032) of ``signed``."""
    try:
        Ed25519PublicKey.from_public_bytes(public_bytes).verify(signature, signed)
    except (InvalidSignature, ValueError):
        return False
    return True


def _encode_cosigned(text: str, at: int) -> bytes:
    return f"cosignature/v1\ntime {at}\n{text}".encode()


def _parse_signature(line: str) -> Signature:
    name, _, encoded = line.removeprefix(MARK).partition(" ")
    value = _decode(encoded)
    if not line.startswith(MARK) or not NAME.fullmatch(name) or len(value) <= ID_SIZE:
        raise NoteError("A line of a signature is a dash, a name and base64.")
    return Signature(name, value[:ID_SIZE], value[ID_SIZE:])


def _decode(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError("That is no base64.") from None
