"""Not more than so many requests a minute of one caller, and of one address.

All processes count in one table, without asking it each time: a process takes a share of what is
left of the minute, and asks again when it has used it up. So a limit is never exceeded; a caller
whose requests are spread over several processes may be refused a few percent early, when one
process still holds a share that another would need.
"""

import threading
import time
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from audit_app.base.actors import Actor
from audit_app.live.long_poll import get_resumption
from orchestrator.web.client_ip import counted_address

WINDOW_SECONDS = 60
SHARES = 20
"""A process takes one in so many of the requests that are left."""

REMEMBERED = 10_000
"""Callers counted at a time in one process; with more, those of earlier minutes are forgotten."""

TAKE = """
    INSERT INTO rate_limits AS known (caller, "window", used) VALUES (%s, %s, %s)
    ON CONFLICT (caller) DO UPDATE SET
        used = excluded.used
             + CASE WHEN excluded."window" > known."window" THEN 0 ELSE known.used END,
        "window" = greatest(excluded."window", known."window")
    RETURNING used
"""


@dataclass(slots=True)
class Share:
    """What this process may still let pass of one caller's minute."""

    window: int
    unshared: int
    """Requests that no process had taken when this one asked last."""
    left: int = 0


@dataclass(frozen=True, slots=True)
class Limit:
    """Where a caller stands against one limit, after this request was counted."""

    policy: str
    quota: int
    remaining: int
    resets_in: int
    exceeded: bool


class Shares:
    """Those of this process. Thread-safe; the database is asked outside of the lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Share] = {}

    def count(self, policy: str, caller: str, quota: int, number: int = 1) -> Limit:
        """Count a request of ``caller``, or one that stands for ``number`` of them: all pass, or
        none. Raises DatabaseError when the database is away."""
        now = time.time()
        window = int(now // WINDOW_SECONDS)
        with self._lock:
            share = self._share(caller, window, quota)
            missing = number - share.left
            enough = 0 < missing <= share.unshared
            wanted = max(missing, share.unshared // SHARES) if enough else 0
            passed = not wanted and _passes(share, number)
        if wanted:
            with connection.cursor() as cursor:
                cursor.execute(TAKE, [caller, window, wanted])
                used: int = cursor.fetchone()[0]
            with self._lock:
                share.left += max(0, wanted - max(0, used - quota))
                share.unshared = max(0, quota - used)
                passed = _passes(share, number)
        resets_in = int(WINDOW_SECONDS - now % WINDOW_SECONDS) + 1
        return Limit(policy, quota, share.left + share.unshared, resets_in, not passed)

    def forget(self) -> None:
        """Start anew, as a new process does."""
        with self._lock:
            self._known.clear()

    def _share(self, caller: str, window: int, quota: int) -> Share:
        share = self._known.get(caller)
        if share is None or share.window != window:
            if len(self._known) >= REMEMBERED:
                self._known = {c: s for c, s in self._known.items() if s.window == window}
            share = self._known[caller] = Share(window, quota)
        return share


def _passes(share: Share, number: int) -> bool:
    if share.left < number:
        return False
    share.left -= number
    return True


shares = Shares()


class CallerThrottle(BaseThrottle):
    """RATE_LIMIT_PER_MINUTE: what an agent or a person may ask, whatever address it comes from."""

    limit: Limit

    def allow_request(self, request: Request, view: Any) -> bool:
        caller = _caller(request)
        if not settings.RATE_LIMIT_PER_MINUTE or caller is None or get_resumption(request._request):
            return True
        cost = getattr(view, "throttle_cost", 1)
        self.limit = shares.count("caller", caller, settings.RATE_LIMIT_PER_MINUTE, cost)
        limits = limits_of(request._request)
        # A batch is counted a second time, when it is known how many it is.
        limits[:] = [limit for limit in limits if limit.policy != "caller"] + [self.limit]
        return not self.limit.exceeded

    def wait(self) -> float:
        """Seconds until the next minute."""
        return self.limit.resets_in


def limits_of(request: HttpRequest) -> list[Limit]:
    """The limits that this request was counted against."""
    found: list[Limit] = request.__dict__.setdefault("limits", [])
    return found


def address_of(request: HttpRequest) -> str:
    return f"address:{counted_address(request) or 'unknown'}"


def _caller(request: Request) -> str | None:
    user: Any = request.user
    if isinstance(user, Actor):
        return f"{user.kind}:{user.id}"
    return f"human:{user.pk}" if user else None
