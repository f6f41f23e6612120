"""API keys: made here, shown once, kept as a hash."""

import hashlib
import secrets
from dataclasses import dataclass

MARK = "ork_"
PREFIX_LENGTH = 12


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made: ``text`` is for its owner alone and is kept nowhere."""

    text: str

    @classmethod
    def make(cls) -> "NewKey":
        return cls(MARK + secrets.token_urlsafe(32))

    @property
    def prefix(self) -> str:
        return self.text[:PREFIX_LENGTH]

    @property
    def hash(self) -> str:
        return hash_of(self.text)


def hash_of(key: str) -> str:
    """SHA-256 of a key. It holds 256 random bits: nothing slower would protect it better."""
    return hashlib.sha256(key.encode()).hexdigest()
