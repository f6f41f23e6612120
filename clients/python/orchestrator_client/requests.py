"""What both clients share: settings, headers, timeouts."""

from __future__ import annotations

import os
import time
from typing import Any
from uuid import uuid4

import httpx

URL = "http://127.0.0.1:8000"
LONGEST_WAIT = 60
"""Seconds that the server holds a request for, at most."""

POLL_INTERVAL = 5.0
"""Seconds between two requests where the server does not hold them."""

DEFAULT_TIMEOUT = httpx.Timeout(30, connect=10)
LONG_POLL_TIMEOUT = httpx.Timeout(30, connect=10, read=LONGEST_WAIT + 30)
STREAM_TIMEOUT = httpx.Timeout(30, connect=10, read=45)
"""A stream sends a heartbeat every 15 seconds; after 45 seconds of silence it is dead."""


def settings(url: str | None, key: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of httpx's client; defaults come from the environment. Raises ValueError."""
    key = key or os.environ.get("ORCHESTRATOR_KEY")
    if not key:
        raise ValueError("A key is needed: give one, or set ORCHESTRATOR_KEY.")
    headers = {"Authorization": f"Bearer {key}"} | dict(options.pop("headers", {}))
    base_url = url or os.environ.get("ORCHESTRATOR_URL") or URL
    return {"base_url": base_url, "timeout": DEFAULT_TIMEOUT, "headers": headers, **options}


def drop_none(**members: Any) -> dict[str, Any]:
    """``members`` without those that are None."""
    return {name: value for name, value in members.items() if value is not None}


def write_headers(
    key: str | None, *, session_id: str | None = None, trace_id: str | None = None
) -> dict[str, str]:
    """The headers of a write, with an Idempotency-Key that all its retries share."""
    references = {"X-Session-Id": session_id, "X-Trace-Id": trace_id}
    return {"Idempotency-Key": key or str(uuid4())} | drop_none(**references)


class Deadline:
    """A point in time after ``seconds``; None: never."""

    def __init__(self, seconds: float | None) -> None:
        self._at = None if seconds is None else time.monotonic() + seconds

    def remaining(self) -> float:
        """The remaining seconds, at least 0."""
        return float("inf") if self._at is None else max(0.0, self._at - time.monotonic())
