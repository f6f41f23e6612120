"""Template filters for what agents wrote (whole, escaped, nothing hidden), times and states.

Operators' own payload templates use them too: the names that templates use do not change.
"""

import re
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from approvals_app.payload import highlighting, json_tree
from approvals_app.payload.diffs import Line, render_lines
from audit_app.base import text_safety
from audit_app.base.text_safety import Link, badge

register = template.Library()

URGENT = timedelta(hours=2)


@register.filter("seen")
def visible(text: Any) -> SafeString:
    """``text`` escaped, with every invisible character shown as a mark with its code."""
    return text_safety.visible(text)


@register.filter
def tree(value: Any) -> SafeString:
    """A JSON value, whole, as a tree that unfolds."""
    return json_tree.render_tree(value)


@register.filter
def code(text: str, language: str) -> SafeString:
    """``text`` as source code, highlighted for ``language``."""
    return highlighting.highlight_code(str(text), language)


@register.filter
def difference(lines: list[Line]) -> SafeString:
    """A diff, line by line."""
    return render_lines(lines)


@register.filter
def money(text: str) -> SafeString:
    """An amount with its digits grouped in threes and otherwise unchanged."""
    number, _, currency = str(text).partition(" ")
    whole, point, rest = number.partition(".")
    # Group only plain numbers of five digits or more; anything else stays as the agent wrote it.
    if not re.fullmatch(r"-?[0-9]{5,30}", whole):
        return visible(text)
    grouped = format_html('<data value="{}">{}</data>', text, f"{int(whole):,}{point}{rest}")
    return format_html("{} {}", grouped, visible(currency)) if currency else grouped


@register.filter
def pretty(value: Any) -> SafeString:
    """A JSON value as indented text, with sorted keys."""
    return visible(text_safety.pretty(value))


@register.filter
def who(actor: str) -> SafeString:
    """The actor of an event."""
    return text_safety.who(actor)


@register.filter
def ago(at: datetime) -> SafeString:
    """The time since ``at`` in words; the exact time on hover."""
    if timezone.now() - at < timedelta(minutes=1):
        return _time(at, "just now")
    return _time(at, f"{timesince(at, depth=1)} ago")


@register.filter("left")
def time_left(at: datetime) -> SafeString:
    """The time until ``at`` in words; the exact time on hover."""
    now = timezone.now()
    if at <= now:
        return _time(at, "passed", "o-urgent")
    text = timesince(now, at, depth=1) if at - now > timedelta(minutes=1) else "a minute"
    return _time(at, f"in {text}", "o-urgent" if at - now < URGENT else "")


@register.filter
def later(length: timedelta) -> str:
    """The time since the event before: "5 min later"."""
    seconds = length.total_seconds()
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} later"
    return "same time"


@register.filter
def exact(at: datetime) -> SafeString:
    """The exact time in UTC, to the second."""
    return _time(at, _to_the_second(at))


@register.filter
def state(status: str) -> SafeString:
    """A state as a badge."""
    return badge(status)


@register.filter("shown")
def display(value: Any) -> SafeString:
    """One fact of a page, rendered by its type."""
    match value:  # text from agents ends up in visible(), never in format_html's format
        case None | "":
            return _mute_text("none")
        case datetime():
            return format_html('{} <span class="o-quiet">{}</span>', exact(value), ago(value))
        case UUID():
            return format_html("<code>{}</code>", value)
        case Link():
            return format_html(
                '<a class="o-link" href="{}">{}</a>', value.href, visible(value.text)
            )
        case _:
            return visible(value)


def _mute_text(words: str) -> SafeString:
    return format_html('<span class="o-quiet">{}</span>', words)


def _time(at: datetime, words: str, kind: str = "") -> SafeString:
    exactly = _to_the_second(at)
    markup = '<time datetime="{}" title="{}" class="{}">{}</time>'
    return format_html(markup, at.isoformat(), exactly, kind, words)


def _to_the_second(at: datetime) -> str:
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M:%S %Z}"
