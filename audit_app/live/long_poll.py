"""Requests that are held until there is something to say: ``Prefer: wait=N`` (RFC 7240) and
``GET /events``.

A view answers with what there is and, where that is not what the caller waits for, says by ``held``
what news to wait for. The ASGI door (orchestrator/asgi.py) then keeps the connection, with neither
a thread nor a connection to the database, and asks the view again after each piece of news: who
asks, and what they may see, is judged anew each time. Behind another door the first answer is sent.
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

LONGEST = 60
"""Seconds: a longer wait is cut to this."""

DOOR = "orchestrator.server.long_poll"
"""In a request's environ where it came through a door that can hold it: a Resumed or None."""


@dataclass(frozen=True, slots=True)
class Held:
    """How an answer is gone on with."""

    keys: frozenset[Hashable]
    """What to wait for news of: see watch.py."""

    seconds: float | None = None
    """Until when the answer is due; None for a stream, which has no end."""

    cursor: str | None = None
    """Where a stream goes on; how much of it there is at once is the view's to say."""

    more: bool = False
    """A stream has more to say at once."""

    judged_every: float | None = None
    """Seconds after which who asks is judged anew, without any news."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """That a request is asked again, and how far its stream had come."""

    cursor: str | None = None


class TooManyWaiting(Throttled):
    """This caller waits for too many answers at once already."""

    default_detail = "Too many of your requests wait already; let some of them answer first."
    extra_detail_singular = extra_detail_plural = ""


class Places:
    """How many requests of each caller this process holds: at most MAX_WAITERS, and
    MAX_WAITERS_PER_CALLER of one caller's. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()

    def take(self, caller: str) -> bool:
        """False when all places are taken: a preference is not a right, and waiters must not shut
        others out. Raises TooManyWaiting."""
        with self._lock:
            if self._taken.total() >= settings.MAX_WAITERS:
                return False
            if self._taken[caller] >= settings.MAX_WAITERS_PER_CALLER:
                raise TooManyWaiting(wait=1)
            self._taken[caller] += 1
        WAITING_REQUESTS.inc()
        return True

    def leave(self, caller: str) -> None:
        WAITING_REQUESTS.dec()
        with self._lock:
            self._taken[caller] -= 1
            if not self._taken[caller]:
                del self._taken[caller]

    def __len__(self) -> int:
        return self._taken.total()


places = Places()


def seconds_preferred(header: str) -> int:
    """The N of ``wait=N`` in a Prefer header, at most LONGEST; 0 where there is none."""
    match = re.search(
        r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?:$|[,;])", header, re.IGNORECASE
    )
    return min(int(match[1]), LONGEST) if match else 0


def can_hold(request: HttpRequest) -> bool:
    """Whether ``request`` came through a door that goes on with what is held."""
    return DOOR in request.META


def resumed(request: HttpRequest) -> Resumed | None:
    """Where ``request`` is asked again: how far it had come."""
    found: Resumed | None = request.META.get(DOOR)
    return found


def hold(request: HttpRequest, response: Any, held: Held, *, caller: str) -> bool:
    """Have ``response`` held, in a place of ``caller``'s; False where there is none.

    Raises TooManyWaiting.
    """
    if resumed(request) is None:
        if not places.take(caller):
            return False
        response.leave = partial(places.leave, caller)
    response.held = held
    return True
