"""How our pages show what agents wrote (whole, escaped, nothing hidden), times and states."""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django import template
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from audit_app import legible
from audit_app.legible import Link, badge

register = template.Library()

URGENT = timedelta(days=1)


@register.filter
def seen(text: Any) -> SafeString:
    """``text`` escaped, each unseen character shown as a mark with its code."""
    return legible.visible(text)


@register.filter
def payload(value: Any) -> SafeString:
    """A JSON value as nested lists and tables of names, whole: nothing is cut."""
    match value:
        case {} if value:
            rows = ((seen(name), payload(value[name])) for name in sorted(value))
            inner = format_html_join("", "<div><dt>{}</dt><dd>{}</dd></div>", rows)
            return format_html('<dl class="o-fields">{}</dl>', inner)
        case [_, *_]:
            items = ((payload(inner),) for inner in value)
            return format_html("<ol>{}</ol>", format_html_join("", "<li>{}</li>", items))
        case str() if "\n" in value:
            return format_html('<pre tabindex="0">{}</pre>', seen(value))
        case str() if value:
            return seen(value)
        case "":
            return _quiet("empty text")
        case {} | []:
            return _quiet("nothing")
    return format_html("<code>{}</code>", json.dumps(value))


@register.filter
def pretty(value: Any) -> SafeString:
    """A JSON value as indented text, keys in order."""
    return seen(legible.pretty(value))


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
