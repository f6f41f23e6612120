"""Whether a connection of the pool still lives, without asking PostgreSQL before each request."""

import select
import time
from typing import Any
from weakref import WeakKeyDictionary

from psycopg import Connection
from psycopg_pool import ConnectionPool

TRUSTED = 1.0
"""Seconds after an answer in which a connection that says nothing is taken for a living one."""

ask = ConnectionPool.check_connection
_answered: "WeakKeyDictionary[Connection[Any], float]" = WeakKeyDictionary()


def check(connection: "Connection[Any]") -> None:
    """Raises psycopg.OperationalError where ``connection`` is dead.

    A server that ends, or a pooler that lets go, closes its side, which can be seen here at once.
    One that vanished without a word is found out by asking, once in a while.
    """
    now = time.monotonic()
    if now - _answered.get(connection, 0.0) < TRUSTED and not _something_came(connection):
        return
    ask(connection)
    _answered[connection] = now


def _something_came(connection: "Connection[Any]") -> bool:
    """Data that nobody asked for: the end of the connection, mostly."""
    look = select.poll()
    look.register(connection.fileno(), select.POLLIN)
    return bool(look.poll(0))


def install() -> None:
    """Let Django's pool check by this: it names the pool's own check, and takes no other."""
    ConnectionPool.check_connection = staticmethod(check)  # type: ignore[assignment,method-assign]
