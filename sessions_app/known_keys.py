"""API keys that were looked up a moment ago.

Each request of an agent has its key looked up, which is a third of what a small one costs. A web
process that hears of every change of an agent or of a key, from PostgreSQL and with the commit
(migration 0009), remembers who came with a key until then. Whoever does not hear asks each time.
"""

import threading
import time
from dataclasses import dataclass

from audit_app.actors import Actor
from audit_app.bell import Bell, bell

CHANNEL = "orchestrator_identities"
KEPT = 5.0
"""Seconds after which a key is looked up again, whatever was heard."""

REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Mark:
    """When a look-up began, and how many changes had been heard of by then."""

    at: float
    changes: int


class KnownKeys:
    """``mark()``, then look up, then ``remember()``: what changes meanwhile is not remembered.

    Thread-safe.
    """

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._lock = threading.Lock()
        self._changes = 0
        self._known: dict[str, tuple[float, Actor]] = {}

    def keep(self) -> None:
        """Listen from now on, and remember."""
        self._bell.listen(CHANNEL, self._forget)

    def mark(self) -> Mark:
        return Mark(time.monotonic(), self._changes)

    def remember(self, hash: str, actor: Actor, *, since: Mark) -> None:
        """``actor`` is whose the key is that hashes to ``hash``, as looked up ``since``."""
        with self._lock:
            if since.changes != self._changes or not self._bell.is_current():
                return
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[hash] = since.at, actor

    def find(self, hash: str) -> Actor | None:
        found = self._known.get(hash)
        if found is None or time.monotonic() - found[0] > KEPT or not self._bell.is_current():
            return None
        return found[1]

    def _forget(self) -> None:
        with self._lock:
            self._changes += 1
            self._known.clear()


known_keys = KnownKeys(bell)
