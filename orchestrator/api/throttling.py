"""Not more than RATE_LIMIT_PER_MINUTE requests of one caller, counted in this process."""

import threading
import time
from typing import Any, ClassVar

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from audit_app.actors import Actor

WINDOW_SECONDS = 60
REMEMBERED = 10_000
"""Callers counted at a time; with more, those of earlier windows are forgotten."""


class CallerThrottle(BaseThrottle):
    """Fixed windows: what an agent or a person may ask, whatever the address it comes from."""

    _lock: ClassVar[threading.Lock] = threading.Lock()
    _counted: ClassVar[dict[str, tuple[int, int]]] = {}

    def allow_request(self, request: Request, view: Any) -> bool:
        limit = settings.RATE_LIMIT_PER_MINUTE
        if not limit:
            return True
        window = int(time.monotonic() // WINDOW_SECONDS)
        caller = _caller(request)
        with self._lock:
            began, count = self._counted.get(caller, (window, 0))
            count = count + 1 if began == window else 1
            self._counted[caller] = (window, count)
            if len(self._counted) > REMEMBERED:
                self._forget(window)
        return count <= limit

    def wait(self) -> float:
        """Seconds until the next window."""
        return WINDOW_SECONDS - time.monotonic() % WINDOW_SECONDS + 1

    def _forget(self, window: int) -> None:
        for caller in [c for c, (began, _) in self._counted.items() if began != window]:
            del self._counted[caller]


def _caller(request: Request) -> str:
    user: Any = request.user
    if isinstance(user, Actor):
        return f"{user.kind}:{user.id}"
    return f"human:{user.pk}" if user else str(request.META.get("REMOTE_ADDR"))
