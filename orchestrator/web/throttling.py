"""Rate limits: requests a minute of one caller, and of one address.

All processes count in one table, but not with every request: a process takes a share of what is
left of the minute, and takes another one when it has used it up. So a limit is never exceeded; a
caller whose requests are spread over several processes may be refused a few percent early, while
one process holds a share that another would need.
"""

import threading
import time
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from audit_app.base.actors import Actor
from audit_app.live import long_poll

WINDOW_SECONDS = 60
SHARES = 20
"""A process takes one twentieth of the requests that are left."""

REMEMBERED = 10_000
"""Callers that one process counts at a time; with more, those of earlier minutes are dropped."""

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
    """How many more of one caller's requests this process may admit in a minute."""

    window: int
    unshared: int
    """Requests that no process had taken when this one last read the table."""
    left: int = 0


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit and what is left of it, after this request was counted."""

    policy: str
    quota: int
    remaining: int
    resets_in: int
    exceeded: bool


class Shares:
    """The shares of this process. Thread-safe; the database is queried outside the lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Share] = {}

    def count(self, policy: str, caller: str, quota: int, number: int = 1) -> Limit:
        """Count ``number`` requests of ``caller``: all are admitted, or none. Raises DatabaseError
        while the database can't be reached."""
        now = time.time()
        window = int(now // WINDOW_SECONDS)
        with self._lock:
            share = self._known.get(caller)
            if share is None or share.window != window:
                share = self._begin(caller, window, quota)
            missing = number - share.left
            passed = missing <= 0
            if passed:
                share.left -= number
            enough = 0 < missing <= share.unshared
            wanted = max(missing, share.unshared // SHARES) if enough else 0
        if wanted:
            with connection.cursor() as cursor:
                cursor.execute(TAKE, [caller, window, wanted])
                used: int = cursor.fetchone()[0]
            with self._lock:
                share.left += max(0, wanted - max(0, used - quota))
                share.unshared = max(0, quota - used)
                passed = share.left >= number
                if passed:
                    share.left -= number
        resets_in = int(WINDOW_SECONDS - now % WINDOW_SECONDS) + 1
        return Limit(policy, quota, share.left + share.unshared, resets_in, not passed)

    def forget(self) -> None:
        """Drop all counts of this process."""
        with self._lock:
            self._known.clear()

    def _begin(self, caller: str, window: int, quota: int) -> Share:
        """Start counting the caller's requests of a new minute."""
        if len(self._known) >= REMEMBERED:
            self._known = {c: s for c, s in self._known.items() if s.window == window}
        share = self._known[caller] = Share(window, quota)
        return share


shares = Shares()


class CallerThrottle(BaseThrottle):
    """RATE_LIMIT_PER_MINUTE, for an agent or a person, whatever address they call from."""

    limit: Limit

    def allow_request(self, request: Request, view: Any) -> bool:
        user: Actor | None = request.user  # type: ignore[assignment]  # None: nobody
        quota = settings.RATE_LIMIT_PER_MINUTE
        # A held request was counted when it came.
        if not quota or not user or request._request.META.get(long_poll.ENVIRON_KEY):
            return True
        cost = getattr(view, "throttle_cost", 1)
        self.limit = shares.count("caller", f"{user.kind}:{user.id}", quota, cost)
        limits: list[Limit] = vars(request._request).setdefault("limits", [])
        # A batch is counted a second time, once its size is known.
        limits[:] = [limit for limit in limits if limit.policy != "caller"] + [self.limit]
        return not self.limit.exceeded

    def wait(self) -> float:
        """Seconds until the next minute."""
        return self.limit.resets_in
