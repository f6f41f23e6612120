"""Template filters for what agents wrote (whole, escaped, nothing hidden), times and states.

Operators' own payload templates use them too: the names that templates use do not change.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django import template
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from approvals_app.payload import highlighting, json_tree
from approvals_app.payload.diffs import Line, render_lines
from approvals_app.payload.facts import clip
from approvals_app.payload.money import group_digits
from approvals_app.payload.summary import Summary
from audit_app.base import text_safety
from audit_app.base.text_safety import Link, badge
from audit_app.base.times import format_exactly, format_length, format_moment, format_utc

register = template.Library()

FACT_TEXT = 80
"""Characters of a fact in a line."""
A_MINUTE = timedelta(minutes=1)
URGENT = timedelta(hours=2)
AGENTS = "agents"
RENDER_TEXT = {AGENTS: text_safety.visible, "ours": text_safety.reveal}
"""How text is rendered, by who wrote it: an agent; or we, or a person."""
AMBER, RED = 0.25, 0.1
"""Of the time for a decision, the shares below which what is left of it is coloured."""


@register.filter("seen")
def visible(text: Any) -> SafeString:
    """An agent's ``text`` escaped, with invisible characters as their codes and marks on what may
    deceive."""
    return text_safety.visible(text)


@register.filter
def reveal(text: Any) -> SafeString:
    """Our own or a person's ``text`` escaped, with invisible characters as their codes."""
    return text_safety.reveal(text)


@register.filter
def tree(value: Any, author: str = AGENTS) -> SafeString:
    """A JSON value, whole, as a tree that unfolds; of what ``"ours"`` wrote, as ``reveal`` does."""
    return json_tree.render_tree(value, RENDER_TEXT[author])


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
    """An amount with its digits grouped in threes and otherwise unchanged: ``4,980.00 EUR``."""
    grouped = group_digits(str(text))
    if grouped == str(text):
        return visible(text)
    number, _, currency = grouped.partition(" ")
    markup = format_html('<data value="{}">{}</data>', text, number)
    return format_html("{} {}", markup, visible(currency)) if currency else markup


@register.filter
def pretty(value: Any, author: str = AGENTS) -> SafeString:
    """A JSON value as indented text, with sorted keys; ``author`` as in ``tree``."""
    return RENDER_TEXT[author](text_safety.pretty(value))


@register.filter
def who(actor: str) -> SafeString:
    """The actor of an event."""
    return text_safety.who(actor)


@register.filter
def ago(at: datetime) -> SafeString:
    """The time since ``at``: "8 min ago". It goes on counting."""
    passed = timezone.now() - at
    words = f"{format_length(passed)} ago" if passed >= A_MINUTE else "just now"
    return _count(at, words, "ago")


@register.filter("left")
def time_left(at: datetime, since: datetime | None = None) -> SafeString:
    """The time until ``at``: "in 1 h 29 min", then "Expired at 13:39". It goes on counting.

    Where it began ``since``, the last quarter is amber and the last tenth red.
    """
    now = timezone.now()
    return _count_down(at, now, since, "in {}", f"in {format_length(at - now)}")


@register.filter
def due(at: datetime, since: datetime | None = None) -> SafeString:
    """A deadline: "Due Wed 10:53 (1 d 23 h)", then "Expired at 13:39". It goes on counting, and
    is coloured as ``left`` is."""
    now = timezone.now()
    words = f"Due {format_moment(at, now)}"
    return _count_down(at, now, since, f"{words} ({{}})", f"{words} ({format_length(at - now)})")


@register.filter
def moment(at: datetime) -> SafeString:
    """A time as people say it: "today 13:39", "Wed 10:53", "2 Dec 10:53"."""
    return _time(at, format_moment(at, timezone.now()))


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
    """The exact time in the reader's clock, to the second."""
    return _time(at, format_exactly(at))


@register.filter
def facts_line(summary: Summary) -> SafeString:
    """The first two facts of a summary on one line, times in the reader's clock."""
    pairs = (
        (fact.label, exact(fact.moment) if fact.moment else visible(clip(fact.value, FACT_TEXT)))
        for fact in summary.facts[:2]
    )
    return format_html_join("; ", "{}: {}", ((visible(label), value) for label, value in pairs))


@register.filter
def state(status: str) -> SafeString:
    """A state as a badge."""
    return badge(status)


@register.filter("shown")
def display(value: Any, author: str = AGENTS) -> SafeString:
    """One fact of a page, rendered by its type; ``author`` as in ``tree``."""
    match value:  # text from agents ends up in visible(), never in format_html's format
        case None | "":
            return _mute_text("none")
        case datetime():
            return format_html('{} <span class="o-quiet">{}</span>', exact(value), ago(value))
        case UUID():
            return format_html("<code>{}</code>", value)
        case Link():
            return format_html(
                '<a class="o-link" href="{}">{}</a>', value.href, RENDER_TEXT[author](value.text)
            )
        case _:
            return RENDER_TEXT[author](value)


def _mute_text(words: str) -> SafeString:
    return format_html('<span class="o-quiet">{}</span>', words)


def _time(at: datetime, words: str) -> SafeString:
    markup = '<time datetime="{}" title="{}">{}</time>'
    return format_html(markup, at.isoformat(), format_utc(at), words)


def _count(at: datetime, words: str, text: str, kind: str = "", **data: str) -> SafeString:
    """A time that times.js keeps telling: ``text`` is what it writes, with {} for the length."""
    # Not the present time: pages that poll compare what they got (ETag).
    attributes = format_html_join("", ' data-{}="{}"', ({"live": text} | data).items())
    markup = '<time datetime="{}" title="{}" class="{}"{}>{}</time>'
    return format_html(markup, at.isoformat(), format_utc(at), kind, attributes, words)


def _count_down(
    at: datetime, now: datetime, since: datetime | None, text: str, words: str
) -> SafeString:
    expired = _say_expired(at, now)
    if at <= now:
        return format_html(
            '<time datetime="{}" title="{}" class="o-urgent">{}</time>',
            at.isoformat(),
            format_utc(at),
            expired,
        )
    data = {"passed": expired} | ({"from": since.isoformat()} if since else {})
    return _count(at, words, text, _urgency(at, now, since), **data)


def _urgency(at: datetime, now: datetime, since: datetime | None) -> str:
    """The class of the colour: by the share of the time that is left, or by URGENT without it."""
    if since is None or since >= at:
        return "o-urgent" if at - now < URGENT else ""
    share = (at - now) / (at - since)
    return "o-urgent" if share <= RED else "o-soon" if share <= AMBER else ""


def _say_expired(at: datetime, now: datetime) -> str:
    """What is said when ``at`` has passed; where it lies ahead, of the day on which it passes."""
    day, _, hour = format_moment(at, max(at, now)).rpartition(" ")
    return f"Expired at {hour}" if day == "today" else f"Expired {day} {hour}"
