"""Rate limits: requests a minute of one caller, and requests and logins of one address.

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
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from audit_app.base.actors import Actor
from audit_app.live import long_poll
from orchestrator.web.client_ip import counted_address

LOGIN_PATHS = (
    "/admin/login/",
    "/admin/password_change/",
    "/admin/reauthenticate/",
    "/admin/single-sign-on/",
)
"""Where people log in: requests that hash a password or ask the issuer, and anyone may send."""

CALLBACK_PATH = "/admin/single-sign-on/callback/"
WINDOW_SECONDS = 60
SHARES = 20
"""A process takes one twentieth of the requests that are left."""

REMEMBERED = 10_000
"""Callers that one process counts at a time; with more, those of earlier minutes are dropped."""

TAKE = f"""
    WITH clock AS MATERIALIZED (SELECT extract(epoch FROM clock_timestamp()) AS now)
    INSERT INTO rate_limits AS known (caller, "window", used)
    SELECT %s, floor(now / {WINDOW_SECONDS}), %s FROM clock
    ON CONFLICT (caller) DO UPDATE SET
        used = excluded.used
             + CASE WHEN known."window" - excluded."window" IN (0, 1) THEN known.used ELSE 0 END,
        "window" = CASE WHEN known."window" - excluded."window" = 1 THEN known."window"
                   ELSE excluded."window" END
    RETURNING used, (SELECT {WINDOW_SECONDS} - mod(now, {WINDOW_SECONDS}) FROM clock)::float
"""  # noqa: S608  # a number of ours
"""Takes requests from a caller's minute; returns how many are taken now, and the seconds that are
left of the minute.

By the database's clock, which all processes share. A minute further ahead than the next one is left
over from a clock that was set back, and is not counted. The next one is: another process may have
begun it while this statement waited for the row.
"""


@dataclass(slots=True)
class Share:
    """How many more of one caller's requests this process may admit in a minute."""

    ends: float
    """When the minute ends, by time.monotonic(); a minute from now until the database said so."""

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
        now = time.monotonic()
        with self._lock:
            share = self._known.get(caller)
            if share is None or share.ends <= now:
                share = self._begin(caller, now, quota)
            missing = number - share.left
            passed = missing <= 0
            if passed:
                share.left -= number
            enough = 0 < missing <= share.unshared
            wanted = max(missing, share.unshared // SHARES) if enough else 0
        if wanted:
            with connection.cursor() as cursor:
                cursor.execute(TAKE, [caller, wanted])
                used, seconds = cursor.fetchone()
            with self._lock:
                share.ends = now + seconds
                share.left += max(0, wanted - max(0, used - quota))
                share.unshared = max(0, quota - used)
                passed = share.left >= number
                if passed:
                    share.left -= number
        resets_in = int(share.ends - now) + 1
        return Limit(policy, quota, share.left + share.unshared, resets_in, not passed)

    def forget(self) -> None:
        """Drop all counts of this process."""
        with self._lock:
            self._known.clear()

    def _begin(self, caller: str, now: float, quota: int) -> Share:
        """Start counting the caller's requests of a new minute."""
        if len(self._known) >= REMEMBERED:
            self._known = {c: s for c, s in self._known.items() if s.ends > now}
        share = self._known[caller] = Share(now + WINDOW_SECONDS, quota)
        return share


shares = Shares()


def count_by_address(request: HttpRequest) -> Limit | None:
    """Count ``request`` by the address that it comes from: logins by LOGIN_LIMIT_PER_MINUTE, all
    others by ADDRESS_LIMIT_PER_MINUTE. None where there is no such limit. Raises DatabaseError."""
    policy, quota = "address", settings.ADDRESS_LIMIT_PER_MINUTE
    # Apart, so that guessing passwords takes nothing from the agents behind the same address.
    if is_login(request):
        policy, quota = "login", settings.LOGIN_LIMIT_PER_MINUTE
    address = counted_address(request) or "unknown"
    return shares.count(policy, f"{policy}:{address}", quota) if quota else None


def is_login(request: HttpRequest) -> bool:
    """Whether ``request`` tries to log in; showing the form does not."""
    if request.method == "POST":
        return request.path.startswith(LOGIN_PATHS)
    return request.path == CALLBACK_PATH


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
