"""Encryption of stored secrets, and the keys that sign webhooks and push messages.

Fernet (AES-128-CBC with HMAC-SHA256), Ed25519 (RFC 8032) and P-256, under keys derived from
SECRET_KEY by HKDF (RFC 5869). Text encrypted under one of SECRET_KEY_FALLBACKS can still be
decrypted, and those keys sign webhooks as well.
"""

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class DecryptionFailed(Exception):
    """The text was encrypted under a SECRET_KEY that is not configured any more."""


def encrypt(text: str, *, purpose: str) -> str:
    """Encrypt ``text``; only ``decrypt`` with the same purpose reads it."""
    return _fernet(purpose).encrypt(text.encode()).decode()


def decrypt(token: str, *, purpose: str) -> str:
    """Decrypt what ``encrypt`` returned for the same purpose. Raises DecryptionFailed."""
    try:
        return _fernet(purpose).decrypt(token.encode()).decode()
    except InvalidToken:
        raise DecryptionFailed from None


def reencrypt(token: str, *, purpose: str) -> str:
    """``token`` encrypted under the current SECRET_KEY; itself if it is already, or empty.

    Raises DecryptionFailed.
    """
    current, *former = _fernets(purpose)
    if not token or _decrypts(current, token):
        return token
    try:
        return MultiFernet([current, *former]).rotate(token.encode()).decode()
    except InvalidToken:
        raise DecryptionFailed from None


def _decrypts(fernet: Fernet, token: str) -> bool:
    try:
        fernet.decrypt(token.encode())
    except InvalidToken:
        return False
    return True


def signing_keys(purpose: str) -> list[Ed25519PrivateKey]:
    """The keys that sign for ``purpose``, the current one first."""
    return [Ed25519PrivateKey.from_private_bytes(key) for key in _derive_keys(f"signing {purpose}")]


def derive_p256_key(purpose: str) -> ec.EllipticCurvePrivateKey:
    """The present private key on P-256 for ``purpose``."""
    # 16 bytes more than the order has, so that the remainder is even (FIPS 186-5, A.2.1).
    number = int.from_bytes(_derive_keys(f"P-256 {purpose}", 48)[0])
    return ec.derive_private_key(number % (P256_ORDER - 1) + 1, ec.SECP256R1())


def _fernet(purpose: str) -> MultiFernet:
    return MultiFernet(_fernets(purpose))


def _fernets(purpose: str) -> list[Fernet]:
    return [Fernet(base64.urlsafe_b64encode(key)) for key in _derive_keys(purpose)]


def _derive_keys(purpose: str, length: int = 32) -> list[bytes]:
    """``length`` bytes derived from each SECRET_KEY, the current one first."""
    # Another purpose gives another key, so that what one part stores means nothing to another.
    info = f"orchestrator.{purpose}".encode()
    return [
        HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(secret.encode())
        for secret in [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    ]
