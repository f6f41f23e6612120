"""Text that agents wrote, as people can safely read it: nothing hidden, nothing cut, escaped.

A reviewer agrees to what they read. Characters that turn text around, take no room or draw nothing
would let an agent show one thing and mean another, so each is drawn as its code.
"""

import json
import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

# Controls but newline and tab, formatting characters (bidirectional overrides, zero widths, tags),
# private use, and letters that look like blanks.
UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    r"\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ue000-\uf8ff\ufe00-\ufe0f\ufeff\uffa0"
    r"\ufff9-\ufffb\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
    r"\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U0010ffff]"
)
LIST_TEXT = 120


@dataclass(frozen=True, slots=True)
class Link:
    """A fact that has a page of its own."""

    text: str
    href: str


def visible(text: object) -> SafeString:
    """``text`` as HTML that shows every character: escaped, the unseen ones as their codes."""
    lines = escape(str(text).replace("\r\n", "\n"))
    return mark_safe(UNSEEN.sub(_code_of, lines))  # noqa: S308  # escaped just before


def pretty(value: Any) -> str:
    """A JSON value as indented text, keys in order."""
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)


def shortened(text: str, length: int) -> str:
    """The beginning of ``text`` on one line, where the whole is one click away."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1].rstrip()}…"


def in_a_list(text: str) -> SafeString:
    """The beginning of ``text`` in a list whose rows lead to the whole."""
    return format_html('<span class="o-long">{}</span>', visible(shortened(text, LIST_TEXT)))


def moment(at: datetime) -> SafeString:
    """A time in a list, to the second."""
    shown = f"{timezone.localtime(at):%Y-%m-%d %H:%M:%S}"
    return format_html('<time class="o-time" datetime="{}">{}</time>', at.isoformat(), shown)


def badge(state: str) -> SafeString:
    """A state, in lists and on pages."""
    words = state.replace("_", " ")
    return format_html('<span class="o-state o-state-{}">{}</span>', state, words)


def _code_of(match: re.Match[str]) -> str:
    name = unicodedata.name(match[0], "control character")
    code = f"U+{ord(match[0]):04X}"
    return format_html('<mark class="o-unseen" title="{}">{}</mark>', name, code)
