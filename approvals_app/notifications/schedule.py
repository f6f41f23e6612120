"""When a person is told: their quiet hours and their digests, in their own time zone."""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

from approvals_app.notifications.models import NoticeSettings

DAY = timedelta(days=1)


def list_time_zones() -> list[str]:
    """What a person can choose from."""
    return sorted(zone for zone in available_timezones() if "/" in zone or zone == "UTC")


def send_at(wish: NoticeSettings, now: datetime, deadline: datetime | None) -> datetime:
    """When ``wish`` wants what happened ``now`` to be told.

    What is due before then is told at once, where they want that.
    """
    at = after_quiet_hours(wish, _next_digest(wish, now))
    urgent = wish.urgent_at_once and deadline is not None and now < deadline <= at
    return now if urgent else at


def after_quiet_hours(wish: NoticeSettings, at: datetime) -> datetime:
    """``at``, or the end of the quiet hours in which it lies."""
    begins, ends = wish.quiet_from, wish.quiet_until
    if begins is None or ends is None or begins == ends:
        return at
    local = at.astimezone(ZoneInfo(wish.time_zone))
    hour = local.time()
    over_midnight = begins > ends
    quiet = hour >= begins or hour < ends if over_midnight else begins <= hour < ends
    return _next(local, ends) if quiet else at


def _next_digest(wish: NoticeSettings, now: datetime) -> datetime:
    local = now.astimezone(ZoneInfo(wish.time_zone))
    match wish.digest:
        case NoticeSettings.Digest.HOURLY:
            # Hours are counted in UTC: the clock that is set back has one twice, not none. Of a
            # zone that is half an hour off, the half hours are full.
            past = timedelta(minutes=local.minute, seconds=local.second)
            return (now - past).replace(microsecond=0) + timedelta(hours=1)
        case NoticeSettings.Digest.DAILY:
            return _next(local, time(wish.digest_hour))
    return now


def _next(local: datetime, hour: time) -> datetime:
    """The next time that the clock shows ``hour`` after ``local``."""
    return min(at for at in _times(local, hour) if at > local.astimezone(ZoneInfo("UTC")))


def _times(local: datetime, hour: time) -> Iterator[datetime]:
    """When the clock shows ``hour`` on that day and the next: twice where it is set back, and where
    it jumps over it, when it would have."""
    day: date = local.date()
    for on in (day, day + DAY):
        for fold in (0, 1):
            there = datetime.combine(on, hour, local.tzinfo).replace(fold=fold)
            at = there.astimezone(ZoneInfo("UTC"))
            if fold == 0 or at.astimezone(local.tzinfo).time() == hour:
                yield at
