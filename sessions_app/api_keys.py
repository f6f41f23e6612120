"""API keys: generated, shown once, stored as a hash."""

import secrets
from dataclasses import dataclass

from audit_app.base.canonical import digest

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
        # A key has 256 random bits, so a slow hash would protect it no better.
        return digest(self.text)
