"""Connections to PostgreSQL: whether one of the pool still lives, without asking before each
request, and how moments are read: psycopg and Django do that in Python, Python itself in C."""

import time
from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

from django.conf import settings
from django.db import connection
from django.db.backends.postgresql.psycopg_any import get_adapters_template
from psycopg import Connection
from psycopg.adapt import Loader
from psycopg.types.datetime import TimestamptzLoader
from psycopg_pool import ConnectionPool

from orchestrator.sockets import something_came

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
    fresh = now - _answered.get(connection, 0.0) < TRUSTED
    # What nobody asked for is mostly the end of the connection.
    if fresh and not something_came(connection.fileno()):
        return
    ask(connection)
    _answered[connection] = now


class MomentLoader(Loader):
    """Django's own loaders say, too, of which zone they are."""

    timezone = UTC

    def load(self, data: Any) -> datetime:
        try:
            return datetime.fromisoformat(str(data, "ascii"))
        except ValueError:  # no moment that Python knows, or in another style
            return TimestamptzLoader(self.oid, self.connection).load(data)


def install() -> None:
    """Let Django's pool check by ``check``: it names the pool's own, and takes no other. Let its
    connections read moments by MomentLoader."""
    ConnectionPool.check_connection = staticmethod(check)  # type: ignore[assignment,method-assign]
    context = get_adapters_template(settings.USE_TZ, connection.timezone)
    context.register_loader("timestamptz", MomentLoader)
