"""How an agent's own words are shown: complete, escaped, and with nothing hidden in them."""

import json
import re
import unicodedata
from typing import Any

from django import template
from django.utils.html import conditional_escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

# Controls but newline and tab, formatting characters (bidirectional overrides, zero widths, tags),
# and blanks that look like nothing: what a reader can't see, a reader can't agree to.
UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    r"\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb"
    r"\U000e0000-\U000e0fff]"
)


@register.filter
def seen(text: Any) -> SafeString:
    """``text`` escaped, each unseen character shown as a mark with its name."""
    parts, end = [], 0
    for match in UNSEEN.finditer(str(text)):
        name = unicodedata.name(match[0], "control character")
        mark = format_html(
            '<mark class="o-unseen" title="{}">U+{}</mark>', name, f"{ord(match[0]):04X}"
        )
        parts += [conditional_escape(str(text)[end : match.start()]), mark]
        end = match.end()
    parts.append(conditional_escape(str(text)[end:]))
    return mark_safe("".join(parts))  # noqa: S308  # every part is escaped above


@register.filter
def payload(value: Any) -> SafeString:
    """A JSON value as nested lists and tables of names, whole: nothing is cut."""
    if isinstance(value, dict):
        if not value:
            return format_html('<span class="o-quiet">{}</span>', "nothing")
        rows = ((seen(name), payload(inner)) for name, inner in value.items())
        return format_html(
            '<dl class="o-fields">{}</dl>',
            format_html_join("", "<div><dt>{}</dt><dd>{}</dd></div>", rows),
        )
    if isinstance(value, list):
        if not value:
            return format_html('<span class="o-quiet">{}</span>', "none")
        items = ((payload(inner),) for inner in value)
        return format_html("<ol>{}</ol>", format_html_join("", "<li>{}</li>", items))
    if isinstance(value, str):
        if "\n" in value:
            return format_html('<pre tabindex="0">{}</pre>', seen(value))
        return seen(value) if value else format_html('<span class="o-quiet">{}</span>', "empty")
    return format_html("<code>{}</code>", json.dumps(value))


@register.filter
def pretty(value: Any) -> SafeString:
    """A JSON value as indented text."""
    return seen(json.dumps(value, indent=2, ensure_ascii=False))
