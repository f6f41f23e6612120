"""Measures two sides in pairs: one right after the other, so that both had the same machine. The
result is the median of the pairs' ratios, with their spread."""

import itertools
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from bench.machine import Meter

NOISY_SPREAD = 0.25
"""Spread of the ratios, relative to their median, above which no figure is given."""

NOISY_OTHER_LOAD = 0.10
"""Share of the machine's CPU that other processes may use, in the median of the runs."""

MIN_PAIRS = 5
WARM_UP_SECONDS = 1.0
SETTLE_SECONDS = 0.1
"""Pause for work that was still in flight when the last run ended."""

NUMBERS_PER_RUN = 10_000_000
"""Request numbers reserved for a run: no two requests to a database have the same."""

_first_numbers = itertools.count(100_000_000_000, NUMBERS_PER_RUN)
"""Twelve digits, so that a number can be the last group of a UUID."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one side; ``client_cpu`` in seconds."""

    done: int
    seconds: float
    p50_ms: float
    p99_ms: float
    client_cpu: float

    @property
    def rate(self) -> float:
        return self.done / self.seconds


class Side(Protocol):
    """An operation that is repeated over several connections at once."""

    def run(self, seconds: float, first: int) -> Run:
        """Repeat it for ``seconds``; requests are numbered from ``first``. Raises BenchError where
        one of them fails."""


Prepare = Callable[[int, int], None]
"""``prepare(first, count)`` inserts the rows that the requests with these numbers consume."""


@dataclass(slots=True)
class Measurement:
    """One side, as the medians over all pairs."""

    name: str
    per_second: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    cpu_ms: dict[str, float] = field(default_factory=dict)
    """Milliseconds of CPU per request, by process."""
    statements: int | None = None
    round_trips: int | None = None
    memory_mb: dict[str, float] = field(default_factory=dict)


Contender = tuple[Measurement, Side, Prepare | None]


@dataclass(slots=True)
class Comparison:
    """One operation of ours compared with another's."""

    operation: str
    ours: Measurement
    other: Measurement
    ratios: list[float]
    others: float
    """Share of the machine's CPU that other processes used."""
    note: str = ""

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def spread(self) -> float:
        return (max(self.ratios) - min(self.ratios)) / self.ratio

    @property
    def noise(self) -> str:
        """Why no figure is given; "" if one is."""
        if len(self.ratios) < MIN_PAIRS:
            return f"a trial: {MIN_PAIRS} pairs are the least"
        if self.spread > NOISY_SPREAD:
            return f"too noisy: the ratios spread by {self.spread:.0%}"
        if self.others > NOISY_OTHER_LOAD:
            return f"too noisy: others used {self.others:.0%} of the machine"
        return ""

    def as_json(self) -> dict[str, Any]:
        summary = {"ratio": self.ratio, "spread": self.spread, "noise": self.noise}
        return asdict(self) | summary


@dataclass(frozen=True, slots=True)
class Harness:
    """The length and number of the runs, and the process trees whose CPU is counted, by name."""

    seconds: float
    pairs: int
    processes: Mapping[str, int]

    def compare(
        self,
        operation: str,
        ours: "Contender",
        other: "Contender",
    ) -> Comparison:
        """Run pairs, alternating which side is first, after a warm-up run of each."""
        runs: tuple[list[_MeteredRun], list[_MeteredRun]] = ([], [])
        sides = (ours, other)
        # The warm-up also tells how many rows to prepare for the first timed run.
        rates = [self._run_once(*side[1:], WARM_UP_SECONDS, expected=0).run.rate for side in sides]
        for number in range(self.pairs):
            for index in (0, 1) if number % 2 == 0 else (1, 0):
                _, side, prepare = sides[index]
                metered = self._run_once(side, prepare, self.seconds, expected=rates[index])
                rates[index] = max(rates[index], metered.run.rate)
                runs[index].append(metered)
        for (measured, _, _), side_runs in zip(sides, runs, strict=True):
            _summarize(measured, side_runs)
        ratios = [mine.run.rate / theirs.run.rate for mine, theirs in zip(*runs, strict=True)]
        others = statistics.median(metered.cpu["others"] for metered in runs[0] + runs[1])
        return Comparison(operation, ours[0], other[0], ratios, others)

    def _run_once(
        self, side: Side, prepare: Prepare | None, seconds: float, *, expected: float
    ) -> "_MeteredRun":
        first = next(_first_numbers)
        if prepare is not None:
            # 1.5 times the best rate so far, or a rate that no side reaches; at least a second's
            # worth, since pgbench can't run for less.
            prepare(first, int(max(seconds, 1.0) * (1.5 * expected or 3000)) + 100)
        time.sleep(SETTLE_SECONDS)
        meter = Meter(self.processes)
        run = side.run(seconds, first)
        return _MeteredRun(run, meter.read(client=run.client_cpu, seconds=run.seconds))


@dataclass(frozen=True, slots=True)
class _MeteredRun:
    run: Run
    cpu: dict[str, float]


def reserve_numbers() -> int:
    """Reserve NUMBERS_PER_RUN request numbers; return the first."""
    return next(_first_numbers)


def _summarize(measured: Measurement, runs: list[_MeteredRun]) -> None:
    median = statistics.median
    measured.per_second = median(one.run.rate for one in runs)
    measured.p50_ms = median(one.run.p50_ms for one in runs)
    measured.p99_ms = median(one.run.p99_ms for one in runs)
    measured.cpu_ms = {
        name: median(1000 * one.cpu[name] / one.run.done for one in runs)
        for name in runs[0].cpu
        if name != "others"
    }
