"""What can lie between a client and the server: a network that cuts, and somebody who is busy."""

import re
import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Seen:
    """A request that came, as bytes."""

    head: bytes

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode()

    def header(self, name: str) -> str | None:
        found = re.search(rf"\r\n{name}: *([^\r]*)".encode(), self.head, re.IGNORECASE)
        return found and found[1].decode()


@dataclass
class Proxy:
    """Passes on to ``upstream``, one request a connection. ``refusals`` are sent instead, once
    each, to requests that begin so; the answers to the next ``cuts`` are lost."""

    upstream: int
    cuts: int = 0
    refusals: list[tuple[str, bytes]] = field(default_factory=list)
    hidden: bytes = b""
    """A header that does not get through."""
    seen: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def find_requests(self, beginning: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.line.startswith(beginning)]

    def cut(self) -> None:
        """Every connection that is open."""
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                self._open.append(caller)
                threading.Thread(target=self._serve, args=[caller], daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        with suppress(OSError), caller:
            request = _request(caller)
            if not request:
                return
            head, _, body = request.partition(b"\r\n\r\n")
            seen = Seen(head)
            self.seen.append(seen)
            refusal = next((r for r in self.refusals if seen.line.startswith(r[0])), None)
            if refusal:
                self.refusals.remove(refusal)
                caller.sendall(refusal[1])
                return
            if self.hidden:
                head = head.replace(b"\r\n" + self.hidden + b":", b"\r\nX-Hidden:")
            with socket.create_connection(("127.0.0.1", self.upstream)) as server:
                self._open.append(server)
                server.sendall(head + b"\r\nConnection: close\r\n\r\n" + body)
                while piece := server.recv(65536):
                    if self.cuts:
                        self.cuts -= 1
                        return
                    caller.sendall(piece)


def _request(caller: socket.socket) -> bytes:
    """The whole of it; nothing where none comes."""
    request = b""
    while b"\r\n\r\n" not in request:
        piece = caller.recv(65536)
        if not piece:
            return b""
        request += piece
    head, _, body = request.partition(b"\r\n\r\n")
    announced = LENGTH.search(head)
    missing = int(announced[1]) - len(body) if announced else 0
    while missing > 0:
        piece = caller.recv(missing)
        request += piece
        missing -= len(piece)
    return re.sub(rb"\r\n[Cc]onnection: [^\r]*", b"", request, count=1)


def refusal(status: int, **headers: str) -> bytes:
    """An answer of something in between, which is no problem of ours."""
    told = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n{told}\r\n".encode()


@contextmanager
def between(upstream: int):
    proxy = Proxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
