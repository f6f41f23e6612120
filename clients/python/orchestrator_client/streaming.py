"""Parses server-sent events (WHATWG HTML, 9.2.6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a stream: that it is open, an event, or a heartbeat."""

    cursor: str = ""
    data: str = ""
    opened: bool = False


OPENED = Message(opened=True)
ALIVE = Message()


class Reader:
    """Assembles messages from the pieces that arrive."""

    # Lines are split at line feeds alone: the data may contain other characters that Python, and
    # so httpx.Response.iter_lines, takes for the end of a line.

    def __init__(self) -> None:
        self._rest = b""
        self._cursor = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> Iterator[Message]:
        """Yield the messages that ``piece`` completes; those without data only move the cursor."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            name, _, value = line.removesuffix(b"\r").decode().partition(":")
            value = value.removeprefix(" ")
            if name == "id":
                self._cursor = value
            elif name == "data":
                self._data.append(value)
            elif not name and not value and line in (b"", b"\r"):
                yield Message(self._cursor, "\n".join(self._data))
                self._data.clear()
