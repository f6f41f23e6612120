"""The cache of API keys, which saves each request a round trip to the database."""

import threading
import time

from audit_app.base.actors import Actor
from audit_app.live.notifier import Notifier, notifier

CHANNEL = "orchestrator_identities"
MAX_AGE = 5.0
"""Seconds. Bounds the harm of a lost notification; each expiry lets ``last_used_at`` be written."""

MAX_ENTRIES = 10_000


class KeyCache:
    """The agents that API keys belong to, by the key's hash, until an agent or a key changes.

    A trigger notifies CHANNEL in the transaction that changes an agent or a key, and each
    notification empties the cache. A revoked key is therefore refused once the notification
    arrives, which PostgreSQL sends before the commit returns; if the network loses it, at most
    MAX_AGE seconds after the key was cached. Nothing is cached while no connection listens.
    Thread-safe.
    """

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._lock = threading.Lock()
        self._actors: dict[str, tuple[float, Actor]] = {}
        self.generation = 0
        """Changes with each notification. Read it before a lookup and pass it to ``put``."""

    def start(self) -> None:
        """Listen from now on; nothing is cached before."""
        self._notifier.listen(CHANNEL, self._clear)

    def get(self, key_hash: str) -> Actor | None:
        """The cached agent, or None if the key has to be looked up."""
        entry = self._actors.get(key_hash)
        return entry[1] if entry and time.monotonic() - entry[0] < MAX_AGE else None

    def put(self, key_hash: str, actor: Actor, *, generation: int) -> None:
        """Cache a lookup's result unless a notification arrived since ``generation``."""
        with self._lock:
            # Checked under the lock: if listening ends after this, _clear comes after this, too.
            if generation != self.generation or not self._notifier.is_listening(CHANNEL):
                return
            if len(self._actors) >= MAX_ENTRIES:
                self._actors.clear()
            self._actors[key_hash] = time.monotonic(), actor

    def _clear(self) -> None:
        with self._lock:
            self.generation += 1
            self._actors.clear()


key_cache = KeyCache(notifier)
