"""Secrets that have to be read again are kept encrypted, with a key that comes from SECRET_KEY;
and so do the keys that others verify signatures with.

Fernet (AES-128-CBC with HMAC-SHA256) and Ed25519 (RFC 8032), under keys derived by HKDF (RFC 5869).
What was sealed under one of SECRET_KEY_FALLBACKS is still opened, and those sign as well.
"""

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


class DecryptionFailed(Exception):
    """It was sealed under a SECRET_KEY that is not known here."""


def encrypt(text: str, *, purpose: str) -> str:
    """``text`` as it may be kept."""
    return _fernet(purpose).encrypt(text.encode()).decode()


def decrypt(token: str, *, purpose: str) -> str:
    """What ``sealed`` was given for the same purpose. Raises DecryptionFailed."""
    try:
        return _fernet(purpose).decrypt(token.encode()).decode()
    except InvalidToken:
        raise DecryptionFailed from None


def signing_keys(purpose: str) -> list[Ed25519PrivateKey]:
    """What is signed with for ``purpose``: the present key, and then those before it."""
    return [Ed25519PrivateKey.from_private_bytes(key) for key in _derive_keys(f"signing {purpose}")]


def _fernet(purpose: str) -> MultiFernet:
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in _derive_keys(purpose)])


def _derive_keys(purpose: str) -> list[bytes]:
    """32 bytes of each SECRET_KEY, the present one first."""
    info = f"orchestrator.{purpose}".encode()
    return [
        HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret.encode())
        for secret in [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    ]
