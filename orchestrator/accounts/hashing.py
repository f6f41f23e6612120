"""Hashes passwords without slowing down anybody else."""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.contrib.auth.hashers import PBKDF2PasswordHasher

from audit_app.base.connections import release_connection

AT_A_TIME = 2
"""Hashes that one process computes at a time."""

NICENESS = 10
"""Agents' requests get about ten times the CPU of a hash that is computed beside them."""


def _yield_to_others() -> None:
    # Linux has a niceness per thread. Elsewhere it would be that of the whole process.
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


_threads = ThreadPoolExecutor(AT_A_TIME, "hashing", initializer=_yield_to_others)


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
