"""Whether and when a request is retried."""

from __future__ import annotations

import random
import time

import httpx

from orchestrator_client.errors import Problem

LONGEST_PAUSE = 8.0
UNSENDABLE = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
UNAVAILABLE = {429, 502, 503, 504}


class Patience:
    """How long one call is retried: for ``seconds`` after its first failure.

    Pauses grow from a quarter of a second to LONGEST_PAUSE, with jitter. ``Retry-After`` is added;
    where it exceeds the remaining time, the call fails at once.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: float | None = None
        self._failures = 0

    def after(self, failure: httpx.Response | httpx.TransportError | None) -> float:
        """The seconds to wait before the same request is sent again.

        ``failure`` None: an open stream ended, which starts the time anew. Raises Problem, or the
        failure itself, where a retry is useless or the time is over.
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
        if not _is_retryable(failure) or now + pause > self._until:
            raise Problem(failure) if isinstance(failure, httpx.Response) else failure
        return pause

    def renew(self) -> None:
        """Start anew after a success: the next failure counts as the first."""
        self._until = None
        self._failures = 0


def is_unavailable(error: Problem | httpx.TransportError) -> bool:
    """Whether ``error`` only says that the server is unavailable now."""
    if isinstance(error, Problem):
        return error.status in UNAVAILABLE
    return not isinstance(error, UNSENDABLE)


def _is_retryable(failure: httpx.Response | httpx.TransportError) -> bool:
    if not isinstance(failure, httpx.Response):
        return not isinstance(failure, UNSENDABLE)
    # A conflict with Retry-After: an earlier attempt of this very request is still running.
    busy = failure.status_code == 409 and "Retry-After" in failure.headers
    return busy or failure.status_code in UNAVAILABLE


def _retry_after(answer: httpx.Response) -> float:
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 0.0
