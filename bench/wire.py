"""Records what a server sends to PostgreSQL: statements, their texts, and round trips.

The server under test connects to a ``Wire`` instead of PostgreSQL. Each message is recorded and
forwarded unchanged, so that every driver is counted alike. Nothing is timed through a wire.
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

JSON_OIDS = {psycopg.adapters.types[name].oid for name in ("json", "jsonb")}
SMALLINT_OID = psycopg.adapters.types["int2"].oid
PROTOCOL_3 = 196608
"""Version 3.0 of the protocol; earlier messages ask for encryption, which is declined."""


@dataclass(slots=True)
class Statement:
    """One statement that was executed."""

    connection: int
    text: str
    """The SQL with its parameters; an ``EXECUTE`` for a prepared statement."""
    prepare: str = ""
    """The ``PREPARE`` that an ``EXECUTE`` needs once per connection."""
    answer: dict[str, str] = field(default_factory=dict)
    """The first row of the result, by column."""


@dataclass(slots=True)
class _PreparedStatement:
    """A statement from a Parse message, with its description by PostgreSQL."""

    text: str
    types: tuple[int, ...]
    columns: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """A name that is the same on every connection."""
        signature = f"{self.types}{self.text}".encode()
        return "bench_p" + "".join(
            chr(97 + byte % 26) for byte in hashlib.sha256(signature).digest()[:16]
        )

    @property
    def prepare(self) -> str:
        types = ", ".join(map(_type_name, self.types))
        return f"PREPARE {self.name}{f'({types})' if types else ''} AS {self.text}"

    def execute(self, values: list[str]) -> str:
        arguments = f"({', '.join(values)})" if values else ""
        return f"EXECUTE {self.name}{arguments}"


@dataclass(slots=True)
class Traffic:
    """What was sent over the wire since it was last taken."""

    statements: list[Statement] = field(default_factory=list)
    trips: dict[int, int] = field(default_factory=dict)
    """Round trips by connection: how often the server sent something after an answer."""


class _MessageReader:
    """Assembles one direction's messages from the pieces that arrive."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, piece: bytes) -> None:
        self._buffer += piece

    def skip(self, count: int) -> int:
        """Skip ``count`` bytes; return how many of them have not arrived yet."""
        skipped = min(count, len(self._buffer))
        self._buffer = self._buffer[skipped:]
        return count - skipped

    def next(self, *, typed: bool = True) -> tuple[bytes, bytes] | None:
        """The next complete message as (type, body), or None.

        The first messages of a connection have no type: ``typed`` is False for them.
        """
        kind = 1 if typed else 0
        if len(self._buffer) < kind + 4:
            return None
        (length,) = struct.unpack_from("!i", self._buffer, kind)
        if len(self._buffer) < kind + length:
            return None
        message = self._buffer[:kind], self._buffer[kind + 4 : kind + length]
        self._buffer = self._buffer[kind + length :]
        return message


class _Connection:
    """One connection of the server under test."""

    def __init__(self, number: int, traffic: Traffic) -> None:
        self.number, self.traffic = number, traffic
        self._started = False
        self._refusals = 0
        """Outstanding one-byte answers that decline encryption."""
        self._is_answered = True
        self._requests, self._answers = _MessageReader(), _MessageReader()
        self._prepared: dict[bytes, _PreparedStatement] = {}
        self._portals: dict[bytes, tuple[_PreparedStatement, list[str]]] = {}
        self._to_describe: deque[_PreparedStatement] = deque()
        """Statements whose requested description has not arrived yet."""
        self._last_statement: Statement | None = None
        self._columns: list[str] = []

    def read_request(self, piece: bytes) -> None:
        if self._started and self._is_answered:
            self.traffic.trips[self.number] = self.traffic.trips.get(self.number, 0) + 1
        self._is_answered = False
        self._requests.feed(piece)
        while message := self._requests.next(typed=self._started):
            self._handle_message(*message)

    def read_answer(self, piece: bytes) -> None:
        self._is_answered = True
        self._answers.feed(piece)
        self._refusals = self._answers.skip(self._refusals)
        while message := self._answers.next():
            self._handle_answer(*message)

    def _handle_answer(self, kind: bytes, body: bytes) -> None:
        last = self._last_statement
        if kind == b"t" and self._to_describe:
            (count,) = struct.unpack_from("!H", body)
            self._to_describe[0].types = struct.unpack_from(f"!{count}I", body, 2)
        elif kind in (b"T", b"n"):
            self._columns = _parse_column_names(body) if kind == b"T" else []
            if self._to_describe:
                self._to_describe.popleft().columns = self._columns
        elif kind == b"D" and last is not None and not last.answer:
            last.answer = dict(zip(self._columns, _parse_values(body), strict=True))

    def _handle_message(self, kind: bytes, body: bytes) -> None:
        if kind == b"":
            self._started = struct.unpack_from("!i", body)[0] == PROTOCOL_3
            self._refusals += not self._started
        elif kind == b"Q":
            self._record_statement(body.rstrip(b"\0").decode())
        elif kind == b"P":
            name, text, rest = body.split(b"\0", 2)
            (count,) = struct.unpack_from("!H", rest)
            types = struct.unpack_from(f"!{count}I", rest, 2)
            self._prepared[name] = _PreparedStatement(text.decode(), types)
        elif kind == b"B":
            portal, name, rest = body.split(b"\0", 2)
            parsed = self._prepared[name]
            self._portals[portal] = parsed, _parse_parameters(rest, parsed.types)
        elif kind == b"D":
            name = body[1:].rstrip(b"\0")
            self._to_describe.append(
                self._prepared[name] if body[:1] == b"S" else self._portals[name][0]
            )
        elif kind == b"E":
            parsed, values = self._portals[body.split(b"\0", 1)[0]]
            # Some drivers request the description once, others for every execution.
            self._columns = parsed.columns
            self._record_statement(parsed.execute(values), parsed.prepare)

    def _record_statement(self, text: str, prepare: str = "") -> None:
        self._last_statement = Statement(self.number, text, prepare)
        self.traffic.statements.append(self._last_statement)


def _type_name(oid: int) -> str:
    if oid == SMALLINT_OID:
        return "integer"  # the driver chose it for the value, and a later value may be larger
    info = psycopg.adapters.types.get(oid)
    if info is None:
        return "unknown"
    return f"{info.regtype}[]" if info.array_oid == oid else info.regtype


def _parse_parameters(body: bytes, types: tuple[int, ...]) -> list[str]:
    """The parameters of a Bind message as SQL literals."""
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
        literals.append(_format_literal(value, types[number] if number < len(types) else 0, binary))
    return literals


def _format_literal(value: bytes | None, oid: int, binary: bool) -> str:
    if value is None:
        return "NULL"
    read = Transformer().get_loader(oid, Format.BINARY).load(value) if binary else value.decode()
    return Literal(Jsonb(read) if binary and oid in JSON_OIDS else read).as_string().strip()


def _parse_column_names(body: bytes) -> list[str]:
    """The column names of a RowDescription message."""
    names, rest = [], body[2:]
    while rest:
        name, _, rest = rest.partition(b"\0")
        names.append(name.decode())
        rest = rest[18:]  # table, column, type, size, modifier, format
    return names


def _parse_values(body: bytes) -> list[str]:
    """The values of a DataRow message as text; "" for NULL."""
    values, at = [], 2
    while at < len(body):
        (length,) = struct.unpack_from("!i", body, at)
        at += 4
        values.append(body[at : at + max(0, length)].decode(errors="replace"))
        at += max(0, length)
    return values


class Wire:
    """A proxy on loopback in front of the PostgreSQL at ``url``."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._traffic = Traffic()
        self._connections: list[_Connection] = []
        self._error: Exception | None = None
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0)
        )
        self._port = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        """The database URL for the server under test."""
        netloc = f"{self._parts.netloc.rpartition(':')[0]}:{self._port}"
        return urlunsplit(self._parts._replace(netloc=netloc))

    def take_traffic(self) -> Traffic:
        """The traffic since the last call. Raises BenchError where it could not be parsed, though
        it was forwarded all the same."""
        if self._error is not None:
            raise BenchError(f"The wire could not be read: {self._error!r}.") from self._error
        fresh = Traffic()
        # One assignment: the wire's own thread keeps writing to what the connections hold.
        self._traffic, before = fresh, self._traffic
        for connection in self._connections:
            connection.traffic = fresh
        return before

    def run(self) -> None:
        self._loop.run_forever()
        self._loop.run_until_complete(self._close_connections(asyncio.all_tasks(self._loop)))
        self._loop.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _close_connections(self, serving: set["asyncio.Task[None]"]) -> None:
        self._server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(len(self._connections), self._traffic)
        self._connections.append(connection)
        upstream = await asyncio.open_connection(self._parts.hostname, self._parts.port)

        async def forward_answers() -> None:
            while piece := await upstream[0].read(65536):
                self._handle_message(connection.read_answer, piece)
                writer.write(piece)
            writer.close()

        with suppress(ConnectionError):
            answer_task = asyncio.create_task(forward_answers())
            while piece := await reader.read(65536):
                self._handle_message(connection.read_request, piece)
                upstream[1].write(piece)
            upstream[1].close()
            await answer_task

    def _handle_message(self, read: Callable[[bytes], None], piece: bytes) -> None:
        if self._error is None:
            try:
                read(piece)
            except Exception as error:
                # Recorded, not raised: forwarding must go on, and take_traffic reports it.
                self._error = error


@contextmanager
def open_wire(url: str) -> Iterator[Wire]:
    """A wire to the PostgreSQL at ``url``, in a thread, until the block ends."""
    wire = Wire(url)
    thread = threading.Thread(target=wire.run, daemon=True)
    thread.start()
    try:
        yield wire
    finally:
        wire.stop()
        thread.join()
