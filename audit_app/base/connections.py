"""The pool of database connections that requests share."""

from django.db import connection


def release_connection() -> None:
    """Return this thread's connection to the pool; the next query takes one again.

    Call it before slow work that needs no database: hashing a password, a request to another
    server. It does nothing inside a transaction.
    """
    if not connection.in_atomic_block:
        connection.close()
