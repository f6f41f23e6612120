"""What both clients send, before it is known who sends it."""

from __future__ import annotations

import os
import time
from typing import Any
from uuid import uuid4

import httpx

URL = "http://127.0.0.1:8000"
LONGEST_WAIT = 60
"""Seconds that the server holds an answer for, at most."""

SLOWLY = 5.0
"""Seconds between two looks where the server does not hold answers."""

USUAL = httpx.Timeout(30, connect=10)
HELD = httpx.Timeout(30, connect=10, read=LONGEST_WAIT + 30)
STREAMED = httpx.Timeout(30, connect=10, read=45)
"""A stream says every 15 seconds that it lives; one that is silent for thrice as long is dead."""


def settings(url: str | None, key: str | None, further: dict[str, Any]) -> dict[str, Any]:
    """For httpx; what is not given is taken from the environment. Raises ValueError."""
    key = key or os.environ.get("ORCHESTRATOR_KEY")
    if not key:
        raise ValueError("A key is needed: give one, or set ORCHESTRATOR_KEY.")
    headers = {"Authorization": f"Bearer {key}"} | dict(further.pop("headers", {}))
    base_url = url or os.environ.get("ORCHESTRATOR_URL") or URL
    return {"base_url": base_url, "timeout": USUAL, "headers": headers, **further}


def drop_none(**members: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in members.items() if value is not None}


def write_headers(
    key: str | None, *, session_id: str | None = None, trace_id: str | None = None
) -> dict[str, str]:
    """The headers of a write: one Idempotency-Key, however often it is sent."""
    known = {"X-Session-Id": session_id, "X-Trace-Id": trace_id}
    return {"Idempotency-Key": key or str(uuid4())} | drop_none(**known)


class Deadline:
    """A point in time, or none."""

    def __init__(self, seconds: float | None) -> None:
        self._at = None if seconds is None else time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds, never less than 0."""
        return float("inf") if self._at is None else max(0.0, self._at - time.monotonic())
