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
from audit_app.watch import Watch, watch

CHANNEL = "orchestrator_identities"
KEPT = 5.0
"""Seconds after which a key is looked up again, whatever was heard."""

REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Mark:
    """When a look-up began, and what had been heard by then."""

    at: float
    changes: int
    watched: int


class KnownKeys:
    """``mark()``, then look up, then ``remember()``: what changes meanwhile is not remembered.

    Whoever waits is woken by what ``watch`` reads in the trail, and is judged anew by then: what it
    has told of an agent is heeded here, whether or not PostgreSQL's notice came before.
    Thread-safe.
    """

    def __init__(self, bell: Bell, watch: Watch) -> None:
        self._bell, self._watch = bell, watch
        self._lock = threading.Lock()
        self._changes = 0
        self._known: dict[str, tuple[Mark, Actor]] = {}

    def keep(self) -> None:
        """Listen from now on, and remember."""
        self._bell.listen(CHANNEL, self._forget)

    def mark(self) -> Mark:
        return Mark(time.monotonic(), self._changes, self._watch.standing())

    def remember(self, hash: str, actor: Actor, *, since: Mark) -> None:
        """``actor`` is whose the key is that hashes to ``hash``, as looked up ``since``."""
        with self._lock:
            if since.changes != self._changes or not self._bell.is_current():
                return
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[hash] = since, actor

    def find(self, hash: str) -> Actor | None:
        known = self._known.get(hash)
        if known is None or not self._bell.is_current():
            return None
        mark, actor = known
        if time.monotonic() - mark.at > KEPT:
            return None
        return None if self._watch.has_told([actor.id], since=mark.watched) else actor

    def _forget(self) -> None:
        with self._lock:
            self._changes += 1
            self._known.clear()


known_keys = KnownKeys(bell, watch)
