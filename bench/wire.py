"""What a server asks of PostgreSQL, read on the wire between the two.

The server under test is given the address of a ``Wire`` for PostgreSQL's. Each message is passed on
as it came and noted, so that whatever speaks PostgreSQL's protocol is counted alike, by whichever
driver: statements, their texts, and round trips. Nothing is timed through a wire.
"""

import asyncio
import hashlib
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg.adapt import Transformer
from psycopg.pq import Format
from psycopg.sql import Literal
from psycopg.types.json import Jsonb

from bench.errors import BenchError

JSON = {psycopg.adapters.types[name].oid for name in ("json", "jsonb")}
SMALL = psycopg.adapters.types["int2"].oid
STARTUP = 196608
"""Version 3.0 of the protocol; what comes before it asks for encryption, which we don't have."""


@dataclass(slots=True)
class Asked:
    """One statement that was executed."""

    connection: int
    text: str
    """With its parameters in it: of a statement that PostgreSQL had prepared, an ``EXECUTE``."""
    prepare: str = ""
    """The ``PREPARE`` that such a text needs once a connection."""
    answer: dict[str, str] = field(default_factory=dict)
    """The first row of the answer."""


@dataclass(slots=True)
class _Parsed:
    """A statement that was sent to be prepared, and what PostgreSQL described of it."""

    text: str
    types: tuple[int, ...]
    columns: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The same on every connection."""
        told = f"{self.types}{self.text}".encode()
        return "bench_p" + "".join(
            chr(97 + byte % 26) for byte in hashlib.sha256(told).digest()[:16]
        )

    @property
    def prepare(self) -> str:
        types = ", ".join(map(_type_name, self.types))
        return f"PREPARE {self.name}{f'({types})' if types else ''} AS {self.text}"

    def execute(self, values: list[str]) -> str:
        given = f"({', '.join(values)})" if values else ""
        return f"EXECUTE {self.name}{given}"


@dataclass(slots=True)
class Said:
    """What went over the wire between two looks."""

    statements: list[Asked] = field(default_factory=list)
    trips: dict[int, int] = field(default_factory=dict)
    """Round trips by connection: how often the server began to ask after it had been answered."""


class _Messages:
    """One direction's whole messages, put together from pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def more(self, piece: bytes) -> None:
        self._rest += piece

    def skip(self, count: int) -> int:
        """Leave out so many bytes, as far as they are there; how many were not."""
        skipped = min(count, len(self._rest))
        self._rest = self._rest[skipped:]
        return count - skipped

    def next(self, *, typed: bool = True) -> tuple[bytes, bytes] | None:
        """The next message, if all of it is there: its type, which the first ones of a connection
        have none of, and its body."""
        kind = 1 if typed else 0
        if len(self._rest) < kind + 4:
            return None
        (length,) = struct.unpack_from("!i", self._rest, kind)
        if len(self._rest) < kind + length:
            return None
        message = self._rest[:kind], self._rest[kind + 4 : kind + length]
        self._rest = self._rest[kind + length :]
        return message


class _Conversation:
    """One connection of the server under test."""

    def __init__(self, number: int, said: Said) -> None:
        self.number, self.said = number, said
        self._started = False
        self._refusals = 0
        """Answers to come of one byte each: no encryption."""
        self._answered = True
        self._asking, self._answering = _Messages(), _Messages()
        self._parsed: dict[bytes, _Parsed] = {}
        self._bound: dict[bytes, tuple[_Parsed, list[str]]] = {}
        self._described: deque[_Parsed] = deque()
        """Of which a description was asked for, and did not come yet."""
        self._last: Asked | None = None
        self._columns: list[str] = []

    def asks(self, piece: bytes) -> None:
        if self._started and self._answered:
            self.said.trips[self.number] = self.said.trips.get(self.number, 0) + 1
        self._answered = False
        self._asking.more(piece)
        while message := self._asking.next(typed=self._started):
            self._note(*message)

    def is_answered(self, piece: bytes) -> None:
        self._answered = True
        self._answering.more(piece)
        self._refusals = self._answering.skip(self._refusals)
        while message := self._answering.next():
            self._note_answer(*message)

    def _note_answer(self, kind: bytes, body: bytes) -> None:
        last = self._last
        if kind == b"t" and self._described:
            (count,) = struct.unpack_from("!H", body)
            self._described[0].types = struct.unpack_from(f"!{count}I", body, 2)
        elif kind in (b"T", b"n"):
            self._columns = _names(body) if kind == b"T" else []
            if self._described:
                self._described.popleft().columns = self._columns
        elif kind == b"D" and last is not None and not last.answer:
            last.answer = dict(zip(self._columns, _values(body), strict=True))

    def _note(self, kind: bytes, body: bytes) -> None:
        if kind == b"":
            self._started = struct.unpack_from("!i", body)[0] == STARTUP
            self._refusals += not self._started
        elif kind == b"Q":
            self._executed(body.rstrip(b"\0").decode())
        elif kind == b"P":
            name, text, rest = body.split(b"\0", 2)
            (count,) = struct.unpack_from("!H", rest)
            types = struct.unpack_from(f"!{count}I", rest, 2)
            self._parsed[name] = _Parsed(text.decode(), types)
        elif kind == b"B":
            portal, name, rest = body.split(b"\0", 2)
            parsed = self._parsed[name]
            self._bound[portal] = parsed, _parameters(rest, parsed.types)
        elif kind == b"D":
            name = body[1:].rstrip(b"\0")
            self._described.append(self._parsed[name] if body[:1] == b"S" else self._bound[name][0])
        elif kind == b"E":
            parsed, values = self._bound[body.split(b"\0", 1)[0]]
            # Some drivers have it described once, others each time.
            self._columns = parsed.columns
            self._executed(parsed.execute(values), parsed.prepare)

    def _executed(self, text: str, prepare: str = "") -> None:
        self._last = Asked(self.number, text, prepare)
        self.said.statements.append(self._last)


def _type_name(oid: int) -> str:
    if oid == SMALL:
        return "integer"  # the driver goes by the value, and by the next run it may be larger
    known = psycopg.adapters.types.get(oid)
    if known is None:
        return "unknown"
    return f"{known.regtype}[]" if known.array_oid == oid else known.regtype


def _parameters(body: bytes, types: tuple[int, ...]) -> list[str]:
    """The parameters of a Bind message as literals."""
    (count,) = struct.unpack_from("!H", body)
    formats = struct.unpack_from(f"!{count}H", body, 2)
    at = 2 + 2 * count
    (count,) = struct.unpack_from("!H", body, at)
    at += 2
    literals = []
    for number in range(count):
        (length,) = struct.unpack_from("!i", body, at)
        at += 4
        value = body[at : at + length] if length >= 0 else None
        at += max(0, length)
        binary = bool(formats and formats[number if len(formats) > 1 else 0])
        literals.append(_literal(value, types[number] if number < len(types) else 0, binary))
    return literals


def _literal(value: bytes | None, oid: int, binary: bool) -> str:
    if value is None:
        return "NULL"
    read = Transformer().get_loader(oid, Format.BINARY).load(value) if binary else value.decode()
    return Literal(Jsonb(read) if binary and oid in JSON else read).as_string().strip()


def _names(body: bytes) -> list[str]:
    """The columns that a RowDescription names."""
    names, rest = [], body[2:]
    while rest:
        name, _, rest = rest.partition(b"\0")
        names.append(name.decode())
        rest = rest[18:]  # table, column, type, size, modifier, format
    return names


def _values(body: bytes) -> list[str]:
    """The values of a DataRow as text; NULL is empty."""
    values, at = [], 2
    while at < len(body):
        (length,) = struct.unpack_from("!i", body, at)
        at += 4
        values.append(body[at : at + max(0, length)].decode(errors="replace"))
        at += max(0, length)
    return values


class Wire:
    """A listener on loopback that passes on to the PostgreSQL of ``url``."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._said = Said()
        self._conversations: list[_Conversation] = []
        self._unread: Exception | None = None
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0)
        )
        self._port = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        """The address to be given to the server under test."""
        place = f"{self._parts.netloc.rpartition(':')[0]}:{self._port}"
        return urlunsplit(self._parts._replace(netloc=place))

    def taken(self) -> Said:
        """What was said since this was last asked for. Raises BenchError where it could not be
        read; it was passed on all the same."""
        if self._unread is not None:
            raise BenchError(f"The wire could not be read: {self._unread!r}.") from self._unread
        said = Said()
        self._said, before = said, self._said
        for conversation in self._conversations:
            conversation.said = said
        return before

    def run(self) -> None:
        self._loop.run_forever()
        self._loop.run_until_complete(self._hang_up(asyncio.all_tasks(self._loop)))
        self._loop.close()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _hang_up(self, serving: set["asyncio.Task[None]"]) -> None:
        self._server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = _Conversation(len(self._conversations), self._said)
        self._conversations.append(conversation)
        there = await asyncio.open_connection(self._parts.hostname, self._parts.port)

        async def answers() -> None:
            while piece := await there[0].read(65536):
                self._note(conversation.is_answered, piece)
                writer.write(piece)
            writer.close()

        with suppress(ConnectionError):
            answering = asyncio.create_task(answers())
            while piece := await reader.read(65536):
                self._note(conversation.asks, piece)
                there[1].write(piece)
            there[1].close()
            await answering

    def _note(self, read: Callable[[bytes], None], piece: bytes) -> None:
        if self._unread is None:
            try:
                read(piece)
            except Exception as error:
                self._unread = error


@contextmanager
def tapped(url: str) -> Iterator[Wire]:
    """A wire to the PostgreSQL of ``url``, for as long as the block runs."""
    wire = Wire(url)
    thread = threading.Thread(target=wire.run, daemon=True)
    thread.start()
    try:
        yield wire
    finally:
        wire.end()
        thread.join()
