"""When a person is notified: quiet hours and digests, in their own time zone."""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from approvals_app.notifications.models import NoticeSettings

DAY = timedelta(days=1)


@cache
def list_time_zones() -> list[str]:
    """The names of the time zones that a person can choose."""
    # Read once: it walks through the files of all time zones.
    return sorted(zone for zone in available_timezones() if "/" in zone or zone == "UTC")


def send_at(preferences: NoticeSettings, now: datetime, deadline: datetime | None) -> datetime:
    """When to send a notice of an event that happened ``now``.

    ``preferences`` may ask for what is due before the next digest to be sent at once.
    """
    at = after_quiet_hours(preferences, _next_digest(preferences, now))
    urgent = preferences.urgent_at_once and deadline is not None and now < deadline <= at
    return now if urgent else at


def after_quiet_hours(preferences: NoticeSettings, at: datetime) -> datetime:
    """``at``, or the end of the quiet hours that it falls in."""
    start, end = preferences.quiet_from, preferences.quiet_until
    if start is None or end is None or start == end:
        return at
    local = at.astimezone(ZoneInfo(preferences.time_zone))
    hour = local.time()
    over_midnight = start > end
    quiet = hour >= start or hour < end if over_midnight else start <= hour < end
    return _next_time(local, end) if quiet else at


def _next_digest(preferences: NoticeSettings, now: datetime) -> datetime:
    """When the next digest after ``now`` is due; ``now`` without digests."""
    local = now.astimezone(ZoneInfo(preferences.time_zone))
    match preferences.digest:
        case NoticeSettings.Digest.HOURLY:
            # Counted in UTC, so that each of the two hours at the end of daylight saving time has
            # its digest. Full hours are local: those of India are half hours in UTC.
            past = timedelta(minutes=local.minute, seconds=local.second)
            return (now - past).replace(microsecond=0) + timedelta(hours=1)
        case NoticeSettings.Digest.DAILY:
            return _next_time(local, time(preferences.digest_hour))
    return now


def _next_time(local: datetime, hour: time) -> datetime:
    """The first time after ``local`` at which the local clock shows ``hour``."""
    return min(at for at in _list_times(local, hour) if at > local.astimezone(ZoneInfo("UTC")))


def _list_times(local: datetime, hour: time) -> Iterator[datetime]:
    """When the local clock shows ``hour`` on the day of ``local`` and the next."""
    # Twice when the clock is set back (fold); when it skips the hour, fold 0 gives an instant that
    # the clock shows under another hour.
    day: date = local.date()
    for on in (day, day + DAY):
        for fold in (0, 1):
            there = datetime.combine(on, hour, local.tzinfo).replace(fold=fold)
            at = there.astimezone(ZoneInfo("UTC"))
            if fold == 0 or at.astimezone(local.tzinfo).time() == hour:
                yield at
