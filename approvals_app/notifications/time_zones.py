"""Pages show times in the reader's time zone."""

from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from functools import cached_property
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from approvals_app.notifications import schedule

COOKIE = "time_zone"
"""The browser's own time zone; static/approvals/times.js sets it."""
PAGES = "/admin/"


class ReaderTimeZone(tzinfo):
    """The time zone that a request's person chose, else their browser's, else UTC.

    It is looked up at the first time that a page tells: a request that tells none reads no user.
    """

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @cached_property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(find_time_zone(self._request))

    def utcoffset(self, at: datetime | None, /) -> timedelta | None:
        return self.zone.utcoffset(at and at.replace(tzinfo=self.zone))

    def dst(self, at: datetime | None, /) -> timedelta | None:
        return self.zone.dst(at and at.replace(tzinfo=self.zone))

    def tzname(self, at: datetime | None, /) -> str | None:
        return self.zone.tzname(at and at.replace(tzinfo=self.zone))

    def fromutc(self, at: datetime, /) -> datetime:
        return self.zone.fromutc(at.replace(tzinfo=self.zone))

    def __str__(self) -> str:
        return self.zone.key


class ReaderTimeZoneMiddleware:
    """Makes ReaderTimeZone the current time zone of the admin's pages, and sends them the time."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith(PAGES):
            return self.get_response(request)
        with timezone.override(ReaderTimeZone(request)):
            response = self.get_response(request)
        # For times.js: the browser's clock may be wrong.
        response.headers["Server-Timing"] = f"now;dur={timezone.now().timestamp():.0f}"
        return response


def find_time_zone(request: HttpRequest) -> str:
    """The name of the reader's time zone."""
    # Of the query that reads the session's person (orchestrator.accounts.standing).
    chosen: str | None = getattr(request.user, "time_zone", None)
    return chosen or find_browser_time_zone(request) or "UTC"


def find_browser_time_zone(request: HttpRequest) -> str | None:
    """The name of the browser's time zone; None before its first page, or if it is not known."""
    name = request.COOKIES.get(COOKIE, "").replace("%2F", "/")
    return name if name in schedule.list_time_zones() else None
