"""Whether the database is away, found out once for all requests of this process.

A request that meets an unreachable database gives up after the pool's timeout. Were each to wait
for itself, an outage would soon hold every thread, those that answer /status among them. So the
first failure only makes one thread look; while that thread finds nothing, the others are told at
once, and when it finds the database again, the next request is served.
"""

import threading
import time
from typing import Any

import psycopg
from django.db import OperationalError, connection
from psycopg_pool import PoolTimeout

from audit_app.live.notifier import connection_parameters

LOOK_EVERY = 0.1
"""Seconds between two looks of the thread while the database is away."""


class Availability:
    """``away`` is what the last look found. Thread-safe."""

    def __init__(self) -> None:
        self.away = False
        self._looking = threading.Lock()

    def suspect(self, error: BaseException) -> None:
        """A request failed by ``error``: look whether the database is there. Returns at once."""
        # A full pool says nothing about the database.
        if not is_pool_full(error) and self._looking.acquire(blocking=False):
            parameters = connection_parameters()
            threading.Thread(target=self._look, args=(parameters,), daemon=True).start()

    def _look(self, parameters: dict[str, Any]) -> None:
        try:
            while not _answers(parameters):
                self.away = True
                time.sleep(LOOK_EVERY)
        finally:
            self.away = False
            self._looking.release()


def _answers(parameters: dict[str, Any]) -> bool:
    """A pooler in between lets anybody in, so that it takes a statement to know."""
    try:
        with psycopg.connect(**parameters, autocommit=True) as looking:
            looking.execute("SELECT 1")
    except psycopg.errors.TooManyConnections:
        return True  # the pool's own connections work
    except psycopg.Error:
        return False
    return True


def is_pool_full(error: BaseException | None) -> bool:
    """Whether all connections of the pool were in use until the request gave up waiting."""
    if not isinstance(error, OperationalError) or not isinstance(error.__cause__, PoolTimeout):
        return False
    # While the database is away, the pool loses its connections and can't open others.
    pool: Any = connection.pool  # type: ignore[attr-defined]  # PostgreSQL's
    statistics = pool.get_stats()
    is_full: bool = statistics["pool_size"] >= statistics["pool_max"]
    return is_full and not availability.away


availability = Availability()
