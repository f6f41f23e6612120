"""RFC 8785 (JSON Canonicalization Scheme): one text for one JSON value, and its digest."""

import hashlib
from typing import Any

import rfc8785


def canonical(value: Any) -> str:
    """The RFC 8785 text of a JSON value.

    Raises ``ValueError`` for what has no canonical form: NaN, infinities, integers beyond
    2**53 - 1, lone surrogates. (The HTTP parser refuses them before they get here.)
    """
    return rfc8785.dumps(value).decode()


def digest(text: str) -> str:
    """Lowercase hex SHA-256 of the UTF-8 bytes of ``text``."""
    return hashlib.sha256(text.encode()).hexdigest()
