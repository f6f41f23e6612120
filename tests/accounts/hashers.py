"""Password hashers that tests watch or hold up, bounded like the real one."""

import os
import socket
from typing import Any

from django.contrib.auth.hashers import MD5PasswordHasher

from orchestrator.accounts.hashing import BoundedHashing

held: list[bool] = []
"""For each hash that Watched computed: whether ``watched`` held a database connection."""

watched: Any = None
"""The test's database connection. Hashes are computed in other threads."""


class _Watch(MD5PasswordHasher):
    algorithm = "watched"

    def encode(self, password: str, salt: str) -> str:
        held.append(watched.connection is not None)
        return super().encode(password, salt)


class Watched(BoundedHashing, _Watch):
    """Notes whether a connection is held while it hashes."""


class _Gate(MD5PasswordHasher):
    algorithm = "gated"

    def encode(self, password: str, salt: str) -> str:
        with socket.create_connection(("127.0.0.1", int(os.environ["HASHING_GATE"]))) as gate:
            gate.recv(1)
        return super().encode(password, salt)


class Gated(BoundedHashing, _Gate):
    """Hashes once whoever listens on HASHING_GATE, a port of this host, lets it."""
