"""How our pages show what agents wrote (whole, escaped, nothing hidden), times and states."""

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
from audit_app.base import text_safety
from audit_app.base.text_safety import Link, badge

register = template.Library()

URGENT = timedelta(hours=2)


@register.filter
def seen(text: Any) -> SafeString:
    """``text`` escaped, each unseen character shown as a mark with its code."""
    return text_safety.visible(text)


@register.filter
def tree(value: Any) -> SafeString:
    """A JSON value, whole, as parts that open."""
    return json_tree.render_tree(value)


@register.filter
def code(text: str, language: str) -> SafeString:
    """``text`` as source code, with the parts of the ``language`` told apart by colour."""
    return highlighting.highlight_code(str(text), language)


@register.filter
def money(text: str) -> SafeString:
    """An amount with its digits in threes, exactly as it is but for that."""
    number, _, currency = str(text).partition(" ")
    whole, point, rest = number.partition(".")
    if not re.fullmatch(r"-?[0-9]{5,30}", whole):
        return seen(text)
    grouped = format_html('<data value="{}">{}</data>', text, f"{int(whole):,}{point}{rest}")
    return format_html("{} {}", grouped, seen(currency)) if currency else grouped


@register.filter
def pretty(value: Any) -> SafeString:
    """A JSON value as indented text, keys in order."""
    return seen(text_safety.pretty(value))


@register.filter
def who(actor: str) -> SafeString:
    """Who did it, as an event names them."""
    return text_safety.who(actor)


@register.filter
def ago(at: datetime) -> SafeString:
    """How long ago, in words; the exact time on hover."""
    if timezone.now() - at < timedelta(minutes=1):
        return _time(at, "just now")
    return _time(at, f"{timesince(at, depth=1)} ago")


@register.filter
def left(at: datetime) -> SafeString:
    """How long until then, in words; the exact time on hover."""
    now = timezone.now()
    if at <= now:
        return _time(at, "passed", "o-urgent")
    words = timesince(now, at, depth=1) if at - now > timedelta(minutes=1) else "a minute"
    return _time(at, f"in {words}", "o-urgent" if at - now < URGENT else "")


@register.filter
def later(length: timedelta) -> str:
    """How long after the one before."""
    seconds = length.total_seconds()
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} later"
    return "same time"


@register.filter
def exact(at: datetime) -> SafeString:
    """The time itself, in UTC to the second."""
    return _time(at, _to_the_second(at))


@register.filter
def state(status: str) -> SafeString:
    """A state as a badge."""
    return badge(status)


@register.filter
def shown(value: Any) -> SafeString:
    """One fact of a page, drawn as what it is."""
    match value:
        case None | "":
            return _quiet("none")
        case datetime():
            return format_html('{} <span class="o-quiet">{}</span>', exact(value), ago(value))
        case UUID():
            return format_html("<code>{}</code>", value)
        case Link():
            return format_html('<a class="o-link" href="{}">{}</a>', value.href, seen(value.text))
        case _:
            return seen(value)


def _quiet(words: str) -> SafeString:
    return format_html('<span class="o-quiet">{}</span>', words)


def _time(at: datetime, words: str, kind: str = "") -> SafeString:
    exactly = _to_the_second(at)
    markup = '<time datetime="{}" title="{}" class="{}">{}</time>'
    return format_html(markup, at.isoformat(), exactly, kind, words)


def _to_the_second(at: datetime) -> str:
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M:%S %Z}"
