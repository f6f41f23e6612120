"""When the same request is sent again, and after how long."""

from __future__ import annotations

import random
import time

import httpx

from orchestrator_client.errors import Problem

LONGEST_PAUSE = 8.0
NEVER_SENT = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
AWAY = {429, 502, 503, 504}


class Patience:
    """How long one call goes on trying: ``seconds`` from its first failure.

    Pauses grow from a quarter of a second to LONGEST_PAUSE, and are never two callers' the same;
    ``Retry-After`` is heeded, and where it asks for more than is left, waiting is pointless.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: float | None = None
        self._failures = 0

    def after(self, failure: httpx.Response | httpx.TransportError | None) -> float:
        """Seconds to let pass before the same request is sent again.

        None is a stream that was there and came to an end, which costs no patience. Raises Problem,
        or the failure itself, where sending it again is no use or the time is over.
        """
        pause = random.uniform(0.5, 1) * min(0.25 * 2.0**self._failures, LONGEST_PAUSE)  # noqa: S311
        self._failures = min(self._failures + 1, 10)
        if failure is None:
            self._until = None
            return pause
        if isinstance(failure, httpx.Response):
            pause += _retry_after(failure)
        now = time.monotonic()
        if self._until is None:
            self._until = now + self._seconds
        if not _may_pass(failure) or now + pause > self._until:
            raise Problem(failure) if isinstance(failure, httpx.Response) else failure
        return pause

    def renew(self) -> None:
        """What was asked for works: the next failure is a first one."""
        self._until = None
        self._failures = 0


def is_away(error: Problem | httpx.TransportError) -> bool:
    """Whether ``error`` says nothing but that the server can't be asked now."""
    if isinstance(error, Problem):
        return error.status in AWAY
    return not isinstance(error, NEVER_SENT)


def _may_pass(failure: httpx.Response | httpx.TransportError) -> bool:
    if not isinstance(failure, httpx.Response):
        return not isinstance(failure, NEVER_SENT)
    # A conflict that names a time: the first of two sendings of this very request is still running.
    busy = failure.status_code == 409 and "Retry-After" in failure.headers
    return busy or failure.status_code in AWAY


def _retry_after(answer: httpx.Response) -> float:
    given = answer.headers.get("Retry-After", "")
    return float(given) if given.isdecimal() else 0.0
