"""Reading server-sent events (WHATWG HTML, 9.2.6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One thing that a stream said: that it is open, an event, or that it is alive."""

    cursor: str = ""
    data: str = ""
    opened: bool = False


OPENED = Message(opened=True)
ALIVE = Message()


class Reader:
    """Turns what arrives, in whatever pieces, into messages.

    Lines end at line feeds alone: texts in the data may have other characters that Python, and so
    ``httpx.Response.iter_lines``, takes for the end of a line.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._cursor = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> Iterator[Message]:
        """The messages that ``piece`` completes; those without data only say how far it is."""
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
