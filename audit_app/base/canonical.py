"""RFC 8785 (JSON Canonicalization Scheme): one text for one JSON value, and its digest."""

import hashlib
import json
import re
from typing import Any

import rfc8785

from audit_app.base.errors import MetadataTooLarge

MAX_METADATA = 65_536
"""Characters of an event's metadata: a trail is not a store of documents."""

_plain = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, sort_keys=True, separators=(",", ":")
).encode
UNPLAIN = re.compile(r'(?:":|[\[,])-?[0-9]+(?:[.e]|(?<=[0-9]{16}))')
"""A fraction or a large number inside an object or a list, which the standard library may write
differently from the RFC. A string that looks like one only costs the slower way."""


def canonical(value: Any) -> str:
    """The RFC 8785 text of a JSON value.

    Raises ValueError for what has no canonical form: NaN, infinities, integers beyond 2**53 - 1,
    lone surrogates. (The HTTP parser refuses them first.)
    """
    # rfc8785 is pure Python and slow. For most values the standard library writes the same text;
    # it differs in fractions, large numbers and the order of member names beyond ASCII.
    text = _plain(value)
    plain = text.isascii() and not isinstance(value, int | float) and not UNPLAIN.search(text)
    return text if plain else rfc8785.dumps(value).decode()


def canonical_metadata(metadata: Any) -> str:
    """The canonical text of ``metadata``, an event's or a row's. Raises MetadataTooLarge."""
    text = canonical(metadata)
    if len(text) > MAX_METADATA:
        raise MetadataTooLarge(field="metadata", limit=MAX_METADATA)
    return text


def digest(text: str) -> str:
    """Lowercase hex SHA-256 of the UTF-8 bytes of ``text``."""
    return hashlib.sha256(text.encode()).hexdigest()
