"""API keys: generated, shown once, stored as a hash."""

import hashlib
import secrets
from dataclasses import dataclass

PREFIX = "ork_"
PREFIX_LENGTH = 12


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new key; ``text`` is shown to its owner once and never stored."""

    text: str

    @classmethod
    def make(cls) -> "NewKey":
        return cls(PREFIX + secrets.token_urlsafe(32))

    @property
    def prefix(self) -> str:
        return self.text[:PREFIX_LENGTH]

    @property
    def hash(self) -> str:
        return hash_of(self.text)


def hash_of(key: str) -> str:
    """The SHA-256 of a key, in hex."""
    # A key has 256 random bits, so a slow hash would protect it no better.
    return hashlib.sha256(key.encode()).hexdigest()
