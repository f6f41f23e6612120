"""The database connections that requests share."""

from django.db import connection


def release_connection() -> None:
    """Give this thread's connection back to the pool; the next query takes one again.

    For what is slow and needs no database: hashing a password, asking another server. Inside a
    transaction the connection stays, since the transaction would end with it.
    """
    if not connection.in_atomic_block:
        connection.close()
