"""Times in words, in the clock of the reader: Django's current time zone."""

from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone

SECONDS_SHOWN: Final = timedelta(minutes=2)
"""Below this, a length is told to the second."""


def format_length(length: timedelta) -> str:
    """``length`` in its two largest units, rounded down: ``1 d 23 h``, ``1 h 29 min``, ``45 s``.

    static/approvals/times.js counts in the same words.
    """
    seconds = max(0, int(length.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3_600, seconds // 86_400
    if days:
        return _join(days, "d", hours % 24, "h")
    if hours:
        return _join(hours, "h", minutes % 60, "min")
    if length >= SECONDS_SHOWN:
        return f"{minutes} min"
    return _join(minutes, "min", seconds % 60, "s") if minutes else f"{seconds} s"


def format_moment(at: datetime, now: datetime) -> str:
    """``at`` as people say it ``now``: ``today 13:39``, ``Wed 10:53`` in the coming week,
    ``2 Dec 10:53``, ``2 Dec 2027 10:53``."""
    local, today = timezone.localtime(at), timezone.localtime(now).date()
    if local.date() == today:
        return f"today {local:%H:%M}"
    if today < local.date() < today + timedelta(days=7):
        return f"{local:%a %H:%M}"
    day = f"{local:%-d %b}" if local.year == today.year else f"{local:%-d %b %Y}"
    return f"{day} {local:%H:%M}"


def format_exactly(at: datetime) -> str:
    """``2026-12-02 11:53:35 CET``."""
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M:%S %Z}"


def format_utc(at: datetime) -> str:
    """``2026-12-02 10:53:35 UTC``, whoever reads it."""
    return f"{at.astimezone(timezone.get_fixed_timezone(0)):%Y-%m-%d %H:%M:%S} UTC"


def _join(large: int, unit: str, small: int, smaller: str) -> str:
    return f"{large} {unit} {small} {smaller}" if small else f"{large} {unit}"
