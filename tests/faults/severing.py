"""What lies between the application and a PostgreSQL that ends just as it has committed."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"
SHUTDOWN = b"SFATAL\x00VFATAL\x00C57P01\x00Mterminating connection\x00\x00"
FAREWELL = COMMITTED + b"E" + struct.pack("!i", 4 + len(SHUTDOWN)) + SHUTDOWN


@dataclass
class Severing:
    """Passes on to ``upstream``. The answers to the next ``farewells`` commits say that it was
    done and, in the same breath, that the server ends; then the connection is gone."""

    upstream: int
    farewells: int = 0

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.upstream))
                for way in ((caller, server, False), (server, caller, True)):
                    threading.Thread(target=self._pass_on, args=way, daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, back: bool) -> None:
        with source:
            with suppress(OSError):
                while piece := source.recv(65536):
                    if back and self.farewells and COMMITTED in piece:
                        self.farewells -= 1
                        sink.sendall(piece.partition(COMMITTED)[0] + FAREWELL)
                        break
                    sink.sendall(piece)
            for each in (source, sink):
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)


@contextmanager
def severing(upstream: int) -> Iterator[Severing]:
    between = Severing(upstream)
    try:
        yield between
    finally:
        between.close()
