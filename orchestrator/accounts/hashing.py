"""Hashes passwords without slowing down anybody else."""

import atexit
import base64
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.contrib.auth.hashers import PBKDF2PasswordHasher

from audit_app.base.connections import release_connection

AT_A_TIME = 2
"""Hashes that one process computes at a time."""

CHILD = """
import hashlib, json, os, sys
os.nice(10)  # a busy core gives agents' requests ten times the time of a hash
for line in sys.stdin.buffer:
    password, salt, iterations, digest = json.loads(line)
    computed = hashlib.pbkdf2_hmac(digest, password.encode(), salt.encode(), iterations)
    sys.stdout.buffer.write(computed.hex().encode() + b"\\n")
    sys.stdout.buffer.flush()
"""
"""Ends with its standard input, and so with the process that started it."""

_threads = ThreadPoolExecutor(AT_A_TIME, "hashing")
_of_thread = threading.local()


class BoundedHashing:
    """Makes a hasher compute in one of AT_A_TIME threads, while the caller holds no connection.

    Anyone can cause a hash by a login, and it is slow on purpose: without this, thirty logins would
    take all cores and all database connections. Inside a transaction the connection is kept.
    """

    def encode(self, *given: Any) -> str:
        release_connection()
        compute: Callable[..., str] = super().encode  # type: ignore[misc]  # the next class has it
        return _threads.submit(compute, *given).result()


class _ChildHasher(PBKDF2PasswordHasher):
    """Computes in a child process of low priority, one for each thread."""

    # Not in the thread itself: with a low priority it would hold up all others whenever it has to
    # wait for the CPU while it holds the GIL.

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        self._check_encode_args(password, salt)  # type: ignore[attr-defined]  # not in the stubs
        count = iterations or self.iterations
        computed = bytes.fromhex(_ask_child([password, salt, count, self.digest().name]))
        return f"{self.algorithm}${count}${salt}${base64.b64encode(computed).decode()}"


class PasswordHasher(BoundedHashing, _ChildHasher):
    """Django's default hasher, bounded. The hashes are the same."""


def _ask_child(request: list[Any]) -> str:
    """The child's answer. Raises OSError where a new one dies, too."""
    line = json.dumps(request).encode() + b"\n"
    for _ in range(2):  # it may have been killed while nobody needed it
        child = _running_child()
        try:
            assert child.stdin
            assert child.stdout
            child.stdin.write(line)
            child.stdin.flush()
            if answer := child.stdout.readline():
                return answer.decode().strip()
        except BrokenPipeError:
            pass
        _stop(child)
    raise OSError("The process that hashes passwords ends at once.")


def _running_child() -> "subprocess.Popen[bytes]":
    child: subprocess.Popen[bytes] | None = getattr(_of_thread, "child", None)
    if child is None or child.poll() is not None:
        child = subprocess.Popen(
            [sys.executable, "-I", "-c", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        atexit.register(_stop, child)
        _of_thread.child = child
    return child


def _stop(child: "subprocess.Popen[bytes]") -> None:
    child.kill()
    for pipe in (child.stdin, child.stdout):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()
    child.wait()
