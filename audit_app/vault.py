"""Secrets that have to be read again are kept encrypted, with a key that comes from SECRET_KEY.

Fernet (AES-128-CBC with HMAC-SHA256) under a key derived by HKDF (RFC 5869). What was sealed under
one of SECRET_KEY_FALLBACKS is still opened.
"""

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


class Unreadable(Exception):
    """It was sealed under a SECRET_KEY that is not known here."""


def sealed(text: str, *, purpose: str) -> str:
    """``text`` as it may be kept."""
    return _keys(purpose).encrypt(text.encode()).decode()


def opened(token: str, *, purpose: str) -> str:
    """What ``sealed`` was given for the same purpose. Raises Unreadable."""
    try:
        return _keys(purpose).decrypt(token.encode()).decode()
    except InvalidToken:
        raise Unreadable from None


def _keys(purpose: str) -> MultiFernet:
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return MultiFernet([Fernet(_key(secret, purpose)) for secret in secrets])


def _key(secret: str, purpose: str) -> bytes:
    info = f"orchestrator.{purpose}".encode()
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret.encode())
    return base64.urlsafe_b64encode(derived)
