"""The limit of an operation: the statements that it sends, sent again by ``pgbench`` and nothing
else. Same database, same role, same durability, same triggers; no HTTP and no Python.

The statements are read off the wire while the operation is asked for a few times, one request at a
time. What is the same in each is kept. What differs is made anew in each transaction: UUIDs,
hashes, what an earlier statement's answer said, and numbers of the request. Times that the client
took from its own clock alone stay those of the last request. What the operation has PostgreSQL
prepare, pgbench has it prepare, too: once a connection.
"""

import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.clients import Request, timed
from bench.errors import BenchError
from bench.harness import Prepare, Run, next_first
from bench.wire import Asked, Wire

SAMPLES = 10
ALIKE = 3
"""Samples that must have sent the same statements; others had once-a-minute work in them."""

SETTLE_SECONDS = 0.05
MISSING = (
    "pgbench is missing, so the limit is not measured; on Debian and Ubuntu: apt install "
    "postgresql-contrib"
)
VARIES = re.compile(
    r"(?<![0-9A-Za-z_])(?:"
    r"(?P<uuid>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
    r"|(?P<hash>[0-9a-f]{64})"
    r"|(?P<hex>[0-9a-f]{32})"
    r"|(?P<time>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:\+00(?::00)?)?)"
    r"|(?P<number>\d+(?:\.\d+)?)"
    r")(?![0-9A-Za-z_])"
)
"""What may differ from one request to the next."""

UUID = (("a", 10_000_000, 99_999_999), ("b", 1000, 9999), ("c", 4000, 4999), ("d", 8000, 8999))
LONG = (100_000_000_000, 999_999_999_999)
QUARTER = (10**15, 10**16 - 1)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one request sent: on the connection that did its work, and on all of them."""

    number: int
    statements: list[Asked]
    total: int
    round_trips: int

    @property
    def shape(self) -> tuple[str, ...]:
        """The texts without what may differ."""
        return tuple(VARIES.sub("?", asked.text) for asked in self.statements)


@dataclass(frozen=True, slots=True)
class Samples:
    """Requests that sent the same statements, and what is counted of all."""

    alike: list[Sample]
    statements: int
    round_trips: int


def samples(wire: Wire, url: str, request: Request, prepare: Prepare | None) -> Samples:
    """Ask the server at ``url``, which has the wire for its PostgreSQL, a few times."""
    first = next_first()
    if prepare is not None:
        prepare(first, SAMPLES)
    found = []
    for number in range(first, first + SAMPLES):
        wire.taken()
        request.send(url, number)
        time.sleep(SETTLE_SECONDS)  # what is sent after the answer belongs to it
        found.append(_sample(number, wire))
    shapes = [sample.shape for sample in found]
    usual = max(shapes, key=shapes.count)
    return Samples(
        [sample for sample in found if sample.shape == usual],
        int(statistics.median(sample.total for sample in found)),
        int(statistics.median(sample.round_trips for sample in found)),
    )


def _sample(number: int, wire: Wire) -> Sample:
    said = wire.taken()
    connections = [asked.connection for asked in said.statements]
    busiest = max(connections, key=connections.count, default=0)
    own = [asked for asked in said.statements if asked.connection == busiest]
    return Sample(number, own, len(connections), sum(said.trips.values()))


def script(samples: Sequence[Sample], connections: int) -> str:
    """pgbench's script of what ``samples`` have in common, for so many ``connections``. Raises
    BenchError where something differs that can't be made anew."""
    if len(samples) < ALIKE:
        raise BenchError("Hardly two requests sent the same statements: there is no limit.")
    writer = _Writer(samples)
    lines = [writer.statement(index) for index in range(len(samples[-1].statements))]
    for index in sorted(writer.kept, reverse=True):
        lines[index] = lines[index].removesuffix(";") + f"\\gset bench_s{index}_"
    numbers = [
        "\\set bench_i :bench_i + 1",
        f"\\set bench_n :bench_first + :bench_i * {connections} + :client_id",
    ]
    prepared = dict.fromkeys(asked.prepare for asked in samples[-1].statements if asked.prepare)
    once = ["\\if :bench_i = 0", *(f"{each};" for each in prepared), "\\endif"]
    return "\n".join([*numbers, *once, *writer.made, *lines, ""])


class _Writer:
    """Writes the last sample's statements with variables where the samples differ."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples
        self._variables: dict[str, str] = {}
        self.made: list[str] = []
        self.kept: set[int] = set()
        """Statements whose answer is used by a later one."""

    def statement(self, index: int) -> str:
        texts = [sample.statements[index].text for sample in self._samples]
        if not texts[-1].strip():
            return "\\;\n;"  # a statement without text: a pool asks whether anybody is there
        found = [list(VARIES.finditer(text)) for text in texts]
        pieces, end = [], 0
        for matches in zip(*found, strict=True):
            last = matches[-1]
            pieces.append(texts[-1][end : last.start()])
            pieces.append(self._anew(index, [match[0] for match in matches], str(last.lastgroup)))
            end = last.end()
        return "".join([*pieces, texts[-1][end:]]).strip() + ";"

    def _anew(self, index: int, values: list[str], kind: str) -> str:
        value = values[-1]
        if len(set(values)) == 1:
            return value
        if kind == "time":
            return self._answered(index, values) or value
        numbers = [f"{sample.number:012}" for sample in self._samples]
        if all(map(str.endswith, values, numbers)):
            return value.removesuffix(numbers[-1]) + ":bench_n"
        if kind in ("uuid", "hex"):
            name = self._variable(value.replace("-", ""), "uuid")
            joint = "-" if kind == "uuid" else ""
            return joint.join(f":{name}{part}" for part in "abcde")
        if kind == "hash":
            name = self._variable(value, "hash")
            return "".join(f":{name}{part}" for part in "abcd")
        if answered := self._answered(index, values):
            return answered
        said = self._samples[-1].statements[index].text[:200]
        raise BenchError(f"{value} differs each time, and nothing says why: {said}")

    def _variable(self, value: str, kind: str) -> str:
        """The name of what stands for ``value``, made where it is first needed."""
        if value not in self._variables:
            name = self._variables[value] = f"bench_{kind[0]}{len(self._variables)}"
            parts = (*UUID, ("e", *LONG)) if kind == "uuid" else [(p, *QUARTER) for p in "abcd"]
            self.made += [f"\\set {name}{p} random({low}, {high})" for p, low, high in parts]
        return self._variables[value]

    def _answered(self, index: int, values: list[str]) -> str:
        """The variable that an earlier statement's answer is kept in, if it said the same."""
        for earlier in range(index):
            answers = [sample.statements[earlier].answer for sample in self._samples]
            for column in answers[-1]:
                said = [_plain(answer.get(column, "")) for answer in answers]
                if said == [_plain(value) for value in values]:
                    self.kept.add(earlier)
                    return f":bench_s{earlier}_{column}"
        return ""


def _plain(value: str) -> str:
    """``value``; a time as PostgreSQL writes it and as Python does is the same text."""
    time, zone, _ = value.partition("+00")
    return time.rstrip("0") if zone and "." in time else time


@dataclass(frozen=True, slots=True)
class Pgbench:
    """A script, run again and again on as many connections as there are clients over HTTP."""

    program: Path
    database_url: str
    script: str
    connections: int

    def run(self, seconds: float, first: int) -> Run:
        # pgbench takes whole seconds.
        return self._run(
            "-c", str(self.connections), "-T", str(max(1, round(seconds))), first=first
        )

    def once(self, first: int) -> Run:
        """One transaction."""
        return self._run("-c", "1", "-t", "1", first=first)

    def _run(self, *how_often: str, first: int) -> Run:
        with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as place:
            file = Path(place) / "script.sql"
            file.write_text(self.script)
            output, cpu = timed(
                [
                    *(str(self.program), "-n", "-M", "simple", "-j", "1", *how_often),
                    *("-D", f"bench_first={first}", "-D", "bench_i=-1", "-f", str(file)),
                    *("-l", "--log-prefix", f"{place}/log", self.database_url),
                ]
            )
            times = sorted(_milliseconds(Path(place)))
        if not times:
            raise BenchError("pgbench got nothing done.")
        rate = float(output.split("tps = ")[1].split()[0])
        p50, p99 = statistics.median(times), times[min(len(times) - 1, int(len(times) * 0.99))]
        return Run(len(times), len(times) / rate, p50, p99, cpu)


def _milliseconds(place: Path) -> list[float]:
    """Of every transaction, from pgbench's log: client, number, microseconds, …"""
    lines = [line for log in place.glob("log.*") for line in log.read_text().splitlines()]
    return [int(line.split()[2]) / 1000 for line in lines]


class NoPgbench(BenchError):
    """There is no pgbench."""


def pgbench(server_pid: int) -> Path:
    """The program of the PostgreSQL that runs, or else of PATH. Raises NoPgbench."""
    beside = Path(f"/proc/{server_pid}/exe").resolve().with_name("pgbench")
    if beside.exists():
        return beside
    if found := shutil.which("pgbench"):
        return Path(found)
    raise NoPgbench(MISSING)
