"""Password hashers that tests watch or hold up."""

import os
import socket

from django.contrib.auth.hashers import MD5PasswordHasher
from django.db import connection

held: list[bool] = []
"""For each hash that Watched computed: whether its thread held a database connection."""


class Watched(MD5PasswordHasher):
    """Notes whether a connection is held while it hashes."""

    algorithm = "watched"

    def encode(self, password: str, salt: str) -> str:
        held.append(connection.connection is not None)
        return super().encode(password, salt)


class Gated(MD5PasswordHasher):
    """Hashes once whoever listens on HASHING_GATE, a port of this host, lets it."""

    algorithm = "gated"

    def encode(self, password: str, salt: str) -> str:
        with socket.create_connection(("127.0.0.1", int(os.environ["HASHING_GATE"]))) as gate:
            gate.recv(1)
        return super().encode(password, salt)
