"""Hashes passwords without slowing down anybody else."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.contrib.auth.hashers import PBKDF2PasswordHasher

from audit_app.base.connections import release_connection

AT_A_TIME = 2
"""Hashes that one process computes at a time."""

_threads = ThreadPoolExecutor(AT_A_TIME, "hashing")


class BoundedHashing:
    """Makes a hasher compute in one of AT_A_TIME threads, while the caller holds no connection.

    Anyone can cause a hash by a login, and it is slow on purpose: without this, thirty logins would
    take all cores and all database connections. Inside a transaction the connection is kept.
    """

    def encode(self, *given: Any) -> str:
        release_connection()
        compute: Callable[..., str] = super().encode  # type: ignore[misc]  # the next class has it
        return _threads.submit(compute, *given).result()


class PasswordHasher(BoundedHashing, PBKDF2PasswordHasher):
    """Django's default hasher, bounded. The hashes are the same."""
