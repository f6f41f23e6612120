"""API keys that were looked up a moment ago: a look-up is a round trip more in each request."""

import threading
import time

from audit_app.base.actors import Actor
from audit_app.live.notifier import Bell, bell

CHANNEL = "orchestrator_identities"
MAX_AGE = 5.0
"""Seconds. Bounds the harm of a lost notice, and has ``last_used_at`` written once in a while."""

MAX_ENTRIES = 10_000


class KeyCache:
    """The agents that API keys belong to, by the key's hash, until an agent or a key changes.

    A trigger notifies CHANNEL in the transaction that changes an agent or a key, and each notice
    empties the cache. So a key that was revoked is refused once the notice is delivered, which
    PostgreSQL sends before the commit returns; where the network loses it, MAX_AGE seconds after
    the key was cached at the latest. Nothing is cached while no connection listens. Thread-safe.
    """

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._lock = threading.Lock()
        self._actors: dict[str, tuple[float, Actor]] = {}
        self.generation = 0
        """Changes with each notice: take it before a look-up, and give it to ``put``."""

    def start(self) -> None:
        """Listen from now on. Until then nothing is cached."""
        self._bell.listen(CHANNEL, self._clear)

    def get(self, key_hash: str) -> Actor | None:
        found = self._actors.get(key_hash)
        return found[1] if found and time.monotonic() - found[0] < MAX_AGE else None

    def put(self, key_hash: str, actor: Actor, *, generation: int) -> None:
        """Cache what was looked up, unless a notice came since ``generation``."""
        with self._lock:
            # Asked under the lock: where listening ends after this, _clear comes after this, too.
            if generation != self.generation or not self._bell.is_listening(CHANNEL):
                return
            if len(self._actors) >= MAX_ENTRIES:
                self._actors.clear()
            self._actors[key_hash] = time.monotonic(), actor

    def _clear(self) -> None:
        with self._lock:
            self.generation += 1
            self._actors.clear()


key_cache = KeyCache(bell)
