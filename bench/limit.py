"""The limit of an operation: ``pgbench`` replays the statements that it sends, and nothing else.
Same database, role, durability and triggers; no HTTP and no Python.

The statements are recorded on the wire during a few sample requests, one at a time. What is equal
in all samples is constant. What differs is generated per transaction: UUIDs, hashes, values that an
earlier statement returned, and the request's number. Timestamps from the client's clock keep the
value of the last sample. Prepared statements are prepared by pgbench too, once per connection.
"""

import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.clients import Request, run_timed
from bench.errors import BenchError
from bench.harness import Prepare, Run, reserve_numbers
from bench.wire import Statement, Wire

SAMPLES = 10
MIN_EQUAL_SAMPLES = 3
"""How many samples must have sent the same statements; others include periodic work."""

SETTLE_SECONDS = 0.05
PGBENCH_MISSING = (
    "pgbench is missing, so the limit is not measured; on Debian and Ubuntu: apt install "
    "postgresql-contrib"
)
VARIABLE = re.compile(
    r"(?<![0-9A-Za-z_])(?:"
    r"(?P<uuid>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
    r"|(?P<hash>[0-9a-f]{64})"
    r"|(?P<hex>[0-9a-f]{32})"
    r"|(?P<time>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:\+00(?::00)?)?)"
    r"|(?P<number>\d+(?:\.\d+)?)"
    r")(?![0-9A-Za-z_])"
)
"""Values that may differ from one request to the next."""

UUID_PARTS = (
    ("a", 10_000_000, 99_999_999),
    ("b", 1000, 9999),
    ("c", 4000, 4999),
    ("d", 8000, 8999),
)
UUID_TAIL = (100_000_000_000, 999_999_999_999)
HASH_PART = (10**15, 10**16 - 1)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one request sent: statements of its main connection, and totals of all connections."""

    number: int
    statements: list[Statement]
    total: int
    round_trips: int

    @property
    def shape(self) -> tuple[str, ...]:
        """The statements' texts with every variable value replaced by "?"."""
        return tuple(VARIABLE.sub("?", statement.text) for statement in self.statements)


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples that sent equal statements, and the median counts of all samples."""

    equal: list[Sample]
    statements: int
    round_trips: int


def take_samples(wire: Wire, url: str, request: Request, prepare: Prepare | None) -> Samples:
    """Send ``request`` SAMPLES times to the server at ``url``, whose PostgreSQL is behind ``wire``.

    Raises BenchError where a request fails or the wire can't be read.
    """
    first = reserve_numbers()
    if prepare is not None:
        prepare(first, SAMPLES)
    taken = []
    for number in range(first, first + SAMPLES):
        wire.take_traffic()
        request.send(url, number)
        time.sleep(SETTLE_SECONDS)  # statements sent after the response count as well
        taken.append(_take_sample(number, wire))
    shapes = [sample.shape for sample in taken]
    # Some samples include once-a-minute work: take the most common shape.
    usual = max(shapes, key=shapes.count)
    return Samples(
        [sample for sample in taken if sample.shape == usual],
        int(statistics.median(sample.total for sample in taken)),
        int(statistics.median(sample.round_trips for sample in taken)),
    )


def _take_sample(number: int, wire: Wire) -> Sample:
    traffic = wire.take_traffic()
    connections = [statement.connection for statement in traffic.statements]
    # Notifications go over a connection of their own, which is not part of the limit.
    busiest = max(connections, key=connections.count, default=0)
    own = [statement for statement in traffic.statements if statement.connection == busiest]
    return Sample(number, own, len(connections), sum(traffic.trips.values()))


def write_script(samples: Sequence[Sample], connections: int) -> str:
    """The pgbench script that replays ``samples`` over ``connections``.

    Raises BenchError where a value differs between samples and can't be generated.
    """
    if len(samples) < MIN_EQUAL_SAMPLES:
        raise BenchError("Hardly two requests sent the same statements: there is no limit.")
    writer = _ScriptWriter(samples)
    lines = [writer.statement(index) for index in range(len(samples[-1].statements))]
    for index in sorted(writer.stored, reverse=True):
        lines[index] = lines[index].removesuffix(";") + f"\\gset bench_s{index}_"
    numbers = [
        "\\set bench_i :bench_i + 1",
        f"\\set bench_n :bench_first + :bench_i * {connections} + :client_id",
    ]
    prepared = dict.fromkeys(
        statement.prepare for statement in samples[-1].statements if statement.prepare
    )
    prepare_once = ["\\if :bench_i = 0", *(f"{each};" for each in prepared), "\\endif"]
    return "\n".join([*numbers, *prepare_once, *writer.assignments, *lines, ""])


class _ScriptWriter:
    """Writes the last sample's statements, with variables where the samples differ."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples
        self._variables: dict[str, str] = {}
        self.assignments: list[str] = []
        self.stored: set[int] = set()
        """Indexes of statements whose result a later one uses."""

    def statement(self, index: int) -> str:
        texts = [sample.statements[index].text for sample in self._samples]
        if not texts[-1].strip():
            return "\\;\n;"  # an empty statement: a pool checks that the connection is alive
        matches_by_text = [list(VARIABLE.finditer(text)) for text in texts]
        pieces, end = [], 0
        for matches in zip(*matches_by_text, strict=True):
            last = matches[-1]
            pieces.append(texts[-1][end : last.start()])
            pieces.append(self._vary(index, [match[0] for match in matches], str(last.lastgroup)))
            end = last.end()
        return "".join([*pieces, texts[-1][end:]]).strip() + ";"

    def _vary(self, index: int, values: list[str], kind: str) -> str:
        value = values[-1]
        if len(set(values)) == 1:
            return value
        if kind == "time":
            return self._find_in_answers(index, values) or value
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
        if stored := self._find_in_answers(index, values):
            return stored
        text = self._samples[-1].statements[index].text[:200]
        raise BenchError(f"{value} differs each time, and nothing says why: {text}")

    def _variable(self, value: str, kind: str) -> str:
        """The variable that stands for ``value``, assigned at its first use."""
        if value not in self._variables:
            name = self._variables[value] = f"bench_{kind[0]}{len(self._variables)}"
            parts = (
                (*UUID_PARTS, ("e", *UUID_TAIL))
                if kind == "uuid"
                else [(p, *HASH_PART) for p in "abcd"]
            )
            self.assignments += [f"\\set {name}{p} random({low}, {high})" for p, low, high in parts]
        return self._variables[value]

    def _find_in_answers(self, index: int, values: list[str]) -> str:
        """The variable with an earlier statement's result, if that was equal in every sample."""
        for earlier in range(index):
            answers = [sample.statements[earlier].answer for sample in self._samples]
            for column in answers[-1]:
                answered = [_normalize_time(answer.get(column, "")) for answer in answers]
                if answered == [_normalize_time(value) for value in values]:
                    self.stored.add(earlier)
                    return f":bench_s{earlier}_{column}"
        return ""


def _normalize_time(value: str) -> str:
    """``value``, with a timestamp in one format for PostgreSQL's and Python's notations."""
    text, zone, _ = value.partition("+00")
    return text.rstrip("0") if zone and "." in text else text


@dataclass(frozen=True, slots=True)
class Pgbench:
    """A script that pgbench repeats over as many connections as the HTTP client has."""

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
        """Run one transaction."""
        return self._run("-c", "1", "-t", "1", first=first)

    def _run(self, *how_often: str, first: int) -> Run:
        with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as folder:
            file = Path(folder) / "script.sql"
            file.write_text(self.script)
            output, cpu = run_timed(
                [
                    *(str(self.program), "-n", "-M", "simple", "-j", "1", *how_often),
                    *("-D", f"bench_first={first}", "-D", "bench_i=-1", "-f", str(file)),
                    *("-l", "--log-prefix", f"{folder}/log", self.database_url),
                ]
            )
            times = sorted(_read_latencies(Path(folder)))
        if not times:
            raise BenchError("pgbench got nothing done.")
        rate = float(output.split("tps = ")[1].split()[0])
        p50, p99 = statistics.median(times), times[min(len(times) - 1, int(len(times) * 0.99))]
        return Run(len(times), len(times) / rate, p50, p99, cpu)


def _read_latencies(folder: Path) -> list[float]:
    """Milliseconds of every transaction, from pgbench's log: client, number, microseconds, …"""
    lines = [line for log in folder.glob("log.*") for line in log.read_text().splitlines()]
    return [int(line.split()[2]) / 1000 for line in lines]


class PgbenchMissing(BenchError):
    """pgbench is not installed."""


def find_pgbench(server_pid: int) -> Path:
    """The pgbench of the running PostgreSQL, or else of PATH. Raises PgbenchMissing."""
    bundled = Path(f"/proc/{server_pid}/exe").resolve().with_name("pgbench")
    if bundled.exists():
        return bundled
    if program := shutil.which("pgbench"):
        return Path(program)
    raise PgbenchMissing(PGBENCH_MISSING)
