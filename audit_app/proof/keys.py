"""The keys that sign checkpoints and receipts: Ed25519, from the setting AUDIT_SIGNING_KEYS.

The first one signs; all are published, so that what an earlier one signed is still checked. In a
trial one is made on the first start, and kept among its data.
"""

import binascii
import hashlib
import json
import os
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from audit_app.proof.notes import VerifierKey

SEED_SIZE = 32
TRIAL_FILE = "audit_signing_key.pem"


class SigningKeyError(ImproperlyConfigured):
    """A setting names something that is no Ed25519 key."""


@dataclass(frozen=True)
class SigningKey:
    """One key pair; ``active`` is the one that signs."""

    private: Ed25519PrivateKey
    active: bool = True

    @cached_property
    def public_bytes(self) -> bytes:
        return self.private.public_key().public_bytes_raw()

    @cached_property
    def thumbprint(self) -> str:
        """The key's name in receipts and in the set of keys: its JWK thumbprint (RFC 7638)."""
        required = {name: self.as_jwk()[name] for name in ("crv", "kty", "x")}
        text = json.dumps(required, sort_keys=True, separators=(",", ":"))
        return _encode(hashlib.sha256(text.encode()).digest())

    def as_jwk(self) -> dict[str, str]:
        """The public key as a JWK (RFC 8037), without ``kid`` and, since libraries differ over its
        name, without ``alg``."""
        return {"kty": "OKP", "crv": "Ed25519", "x": _encode(self.public_bytes)}

    def verifier_key(self, name: str) -> VerifierKey:
        """The public key as readers of notes of the log ``name`` take it."""
        return VerifierKey(name, self.public_bytes)


def signing_keys() -> tuple[SigningKey, ...]:
    """The configured keys, the one that signs first; none if there is no setting.

    Raises SigningKeyError.
    """
    given: Sequence[str] = settings.AUDIT_SIGNING_KEYS
    if not given and settings.TRIAL:
        given = [str(_keep_trial_key(Path(settings.DATA_DIR) / TRIAL_FILE))]
    return _load_all(tuple(given))


def verifying_keys() -> tuple[SigningKey, ...]:
    """The keys whose signatures count: those of now and those before them."""
    return signing_keys()


def publish_keys() -> dict[str, list[dict[str, str]]]:
    """The public keys as a JWK Set (RFC 7517)."""
    return {
        "keys": [key.as_jwk() | {"kid": key.thumbprint, "use": "sig"} for key in verifying_keys()]
    }


def make_key(file: Path) -> SigningKey:
    """Make a key in a new ``file`` that its owner alone can read. Raises OSError."""
    file.touch(mode=0o600, exist_ok=False)
    private = Ed25519PrivateKey.generate()
    file.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return SigningKey(private)


def _keep_trial_key(file: Path) -> Path:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        # Of processes that start together, one makes it, and none reads half of it.
        unfinished = file.with_suffix(f".{os.getpid()}")
        make_key(unfinished)
        with suppress(FileExistsError):
            file.hardlink_to(unfinished)
        unfinished.unlink()
    return file


@cache
def _load_all(given: tuple[str, ...]) -> tuple[SigningKey, ...]:
    return tuple(SigningKey(_load(each), active=not number) for number, each in enumerate(given))


def _load(given: str) -> Ed25519PrivateKey:
    """The key in a PEM file of this path, or whose 32 bytes this is in base64."""
    try:
        seed = b64decode(given, validate=True)
        if len(seed) == SEED_SIZE:
            return Ed25519PrivateKey.from_private_bytes(seed)
    except binascii.Error:
        pass
    try:
        key: Any = load_pem_private_key(Path(given).read_bytes(), None)
    except (OSError, ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyError(
            "AUDIT_SIGNING_KEYS must name files with an unencrypted Ed25519 key in PEM (manage.py "
            "audit_key makes one), or hold the key's 32 bytes in base64."
        )
    return key


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
