"""Several callers at the same moment, each a thread with a connection of its own."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from django.db import connections

from tests.database import as_superuser

WAITING = """SELECT 1 FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'"""


def alone(call: Callable[[], Any]) -> Any:
    """``call``, in a thread that lets go of its connection."""
    try:
        return call()
    finally:
        connections.close_all()


def somebody_waits_for_a_lock() -> None:
    """Return once a statement in this database waits for a lock."""
    deadline = time.monotonic() + 30
    with as_superuser() as admin:
        admin.autocommit = True
        while not admin.execute(WAITING).fetchone():
            assert time.monotonic() < deadline, "Nobody waits for a lock."


@contextmanager
def waiting(call: Callable[[], Any]) -> Iterator["Future[Any]"]:
    """``call`` is made beside, and waits for a lock by now."""
    with ThreadPoolExecutor(1) as others:
        outcome = others.submit(alone, call)
        somebody_waits_for_a_lock()
        yield outcome


def together(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """What each of ``calls`` returned or raised, all of them let go at once."""
    barrier = threading.Barrier(len(calls))
    outcomes: list[Any] = [None] * len(calls)

    def run(index: int, call: Callable[[], Any]) -> None:
        try:
            connections["default"].ensure_connection()
            barrier.wait(timeout=30)
            outcomes[index] = call()
        except Exception as error:
            outcomes[index] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=each) for each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    return outcomes
