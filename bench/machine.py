"""CPU and memory of processes, read from /proc, and a description of the machine."""

import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psycopg

from bench.serving import ROOT

TICKS = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")
BUSY_COLUMNS = (1, 2, 3, 6, 7, 8)
"""Columns of /proc/stat that count as work: user, system, interrupts, and steal."""


def process_tree(pid: int) -> Iterator[int]:
    """``pid`` and all its descendants, except those that have just ended."""
    yield pid
    # Children belong to the thread that forked them, so every thread is asked.
    for thread in (PROC / f"{pid}/task").glob("*"):
        with suppress(OSError):
            for child in (thread / "children").read_text().split():
                yield from process_tree(int(child))


def cpu_seconds(pid: int) -> float:
    """CPU seconds that the process tree of ``pid`` used, its reaped children included."""
    ticks = 0
    for one in process_tree(pid):
        try:
            fields = (PROC / f"{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / TICKS


def total_cpu_seconds() -> float:
    """CPU seconds that all processes used since the machine started."""
    fields = (PROC / "stat").read_text().split("\n", 1)[0].split()
    return sum(int(fields[column]) for column in BUSY_COLUMNS) / TICKS


class Meter:
    """Measures the CPU that named process trees use from now on, and the share that all other
    processes use."""

    def __init__(self, processes: Mapping[str, int]) -> None:
        self._processes = dict(processes)
        self._before = {name: cpu_seconds(pid) for name, pid in self._processes.items()}
        self._own = _own_cpu_seconds()
        self._all = total_cpu_seconds()

    def read(self, *, client: float, seconds: float) -> dict[str, float]:
        """CPU seconds by name, the ``client``'s included; "others" is a share of all cores, 0 to 1.

        ``client`` is given because its processes have ended; ``seconds`` is the run's length.
        """
        used = {
            name: cpu_seconds(pid) - self._before[name] for name, pid in self._processes.items()
        }
        own = _own_cpu_seconds() - self._own
        others = total_cpu_seconds() - self._all - sum(used.values()) - client - own
        share = max(0.0, others) / (seconds * (os.cpu_count() or 1))
        return {"client": client, **used, "others": share}


def _own_cpu_seconds() -> float:
    spent = os.times()
    return spent.user + spent.system


def measure_memory(pid: int) -> dict[str, float]:
    """Megabytes of the process tree of ``pid``: ``rss`` counts shared pages for every process,
    ``pss`` counts them once."""
    sizes = {"rss": 0, "pss": 0}
    for one in process_tree(pid):
        try:
            lines = (PROC / f"{one}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, rest = line.partition(":")
            if name.lower() in sizes:
                sizes[name.lower()] += int(rest.split()[0])
    return {name: round(size / 1024, 1) for name, size in sizes.items()}


def describe_machine(database_url: str) -> dict[str, str | int | float]:
    """The machine and the commit, stored with every result. Raises psycopg.Error."""
    with psycopg.connect(database_url) as connection:
        version = connection.info.parameter_status("server_version") or "unknown"
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "commit": described.stdout.strip() or "unknown",
        "machine": platform.machine(),
        "processor": _processor_name(),
        "cores": os.cpu_count() or 0,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "kernel": platform.release(),
        "postgresql": version,
        "python": platform.python_version(),
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def _processor_name() -> str:
    for line in (PROC / "cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"
