"""Text that agents wrote, as people can safely read it: nothing hidden, nothing cut, escaped.

A reviewer approves what they read. Characters that turn text around, take no room or draw nothing
would let an agent show one thing and mean another, so each is drawn by its code.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

HIDING_CATEGORIES = ("Cc", "Cf", "Zl", "Zp", "Co", "Cn")
BLANK_LETTERS = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
VARIATION = re.compile("[\ufe00-\ufe0e\U000e0100-\U000e01ef]")
PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def hides(character: str) -> bool:
    """Whether ``character`` draws nothing of its own or moves its neighbours."""
    if character in "\n\t":
        return False
    return (
        unicodedata.category(character) in HIDING_CATEGORIES
        or character in BLANK_LETTERS
        or VARIATION.fullmatch(character) is not None
    )


def visible(text: object) -> SafeString:
    """``text`` as HTML that shows every character: escaped, the hiding ones as their codes."""
    lines = str(text).replace("\r\n", "\n")
    parts: list[str] = []
    plain = 0
    for at, character in enumerate(lines):
        if hides(character):
            parts += [format_html("{}", lines[plain:at]), _code_of(character)]
            plain = at + 1
    parts.append(format_html("{}", lines[plain:]))
    return mark_safe("".join(parts))  # noqa: S308  # each part is escaped by format_html


def pretty(value: Any) -> str:
    """A JSON value as indented text, keys in order."""
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)


def scalars(value: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Every leaf of a JSON value as (path, kind, text), in the order of the keys."""
    match value:
        case dict() if value:
            for key in sorted(value):
                step = key if PLAIN_KEY.fullmatch(key) else f"[{json.dumps(key)}]"
                dot = "." if path and not step.startswith("[") else ""
                yield from scalars(value[key], f"{path}{dot}{step}")
        case list() if value:
            for index, inner in enumerate(value):
                yield from scalars(inner, f"{path}[{index}]")
        case str() if value:
            yield path, "text", value
        case "":
            yield path, "empty", "empty text"
        case {}:
            yield path, "empty", "nothing"
        case []:
            yield path, "empty", "empty list"
        case _:
            yield path, "literal", json.dumps(value)


def _code_of(character: str) -> SafeString:
    code = f"U+{ord(character):04X}"
    name = unicodedata.name(character, "a control character")
    return format_html('<span class="hidden-character" title="{}">{}</span>', name, code)
