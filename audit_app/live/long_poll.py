"""Long polls: ``Prefer: wait=N`` (RFC 7240) and the stream ``GET /events``.

A view answers with what there is. If that is not what the caller waits for, ``hold`` says what to
wait for, and the ASGI server (orchestrator/server/long_poll.py) keeps the connection, with neither
a thread nor a database connection, and runs the view again after each event: who calls, and what
they may see, is checked every time. Under another server the first answer is sent.
"""

import re
import threading
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from rest_framework.exceptions import Throttled

from audit_app.base.metrics import WAITING_REQUESTS

MAX_WAIT = 60
"""Seconds; a longer wait is cut to this."""

ENVIRON_KEY = "orchestrator.server.long_poll"
"""Present in a request's environ where the server supports long polls: a Resumption or None."""


@dataclass(frozen=True, slots=True)
class LongPoll:
    """How the server continues an answer."""

    keys: frozenset[Hashable]
    """What to wait for: see subscriptions.py."""

    seconds: float | None = None
    """Seconds until the answer is due; None for a stream, which has no end."""

    cursor: str | None = None
    """Where a stream continues; the view decides how much it sends at once."""

    more: bool = False
    """A stream has more to send at once."""

    recheck_every: float | None = None
    """Seconds after which the caller's rights are checked again, even without an event."""


@dataclass(frozen=True, slots=True)
class Resumption:
    """Marks a request that is run again, and says where its stream continues."""

    cursor: str | None = None


class TooManyWaiting(Throttled):
    """This caller has too many long polls already."""

    default_detail = "Too many of your requests wait already; let some of them answer first."
    extra_detail_singular = extra_detail_plural = ""


class WaiterLimits:
    """Counts the long polls of this process: at most MAX_WAITERS, and MAX_WAITERS_PER_CALLER of one
    caller. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def acquire(self, caller: str) -> bool:
        """Count one more for ``caller``; False where the process has no room.

        Raises TooManyWaiting where the caller has too many.
        """
        with self._lock:
            # Not an error: Prefer states a preference, so the caller is answered at once.
            if self._counts.total() >= settings.MAX_WAITERS:
                return False
            if self._counts[caller] >= settings.MAX_WAITERS_PER_CALLER:
                raise TooManyWaiting(wait=1)
            self._counts[caller] += 1
        WAITING_REQUESTS.inc()
        return True

    def release(self, caller: str) -> None:
        """Count one less for ``caller``."""
        WAITING_REQUESTS.dec()
        with self._lock:
            self._counts[caller] -= 1
            if not self._counts[caller]:
                del self._counts[caller]

    def __len__(self) -> int:
        return self._counts.total()


waiter_limits = WaiterLimits()


def parse_wait(header: str) -> int:
    """The seconds N of ``wait=N`` in a Prefer header, at most MAX_WAIT; 0 where there is none."""
    # Prefer may list several preferences; others are ignored (RFC 7240).
    match = re.search(
        r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?:$|[,;])", header, re.IGNORECASE
    )
    return min(int(match[1]), MAX_WAIT) if match else 0


def is_supported(request: HttpRequest) -> bool:
    """Whether ``request`` came through a server that supports long polls."""
    return ENVIRON_KEY in request.META


def hold(request: HttpRequest, response: Any, long_poll: LongPoll, *, caller: str) -> bool:
    """Have ``response`` continued as ``long_poll`` says; False where the process has no room.

    Raises TooManyWaiting.
    """
    # A request that is run again is counted already.
    if request.META.get(ENVIRON_KEY) is None:
        if not waiter_limits.acquire(caller):
            return False
        response.release = partial(waiter_limits.release, caller)
    response.long_poll = long_poll
    return True
