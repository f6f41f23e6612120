"""What processes used of this machine, as /proc says it, and which machine it was."""

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
"""Columns of /proc/stat that are work: of users, of the kernel, and what a hypervisor took."""


def process_tree(pid: int) -> Iterator[int]:
    """``pid`` and every process below it; a process that ended meanwhile is left out."""
    yield pid
    for thread in (PROC / f"{pid}/task").glob("*"):
        with suppress(OSError):
            for child in (thread / "children").read_text().split():
                yield from process_tree(int(child))


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU that the process tree of ``pid`` used, with those of its that ended."""
    ticks = 0
    for one in process_tree(pid):
        try:
            fields = (PROC / f"{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / TICKS


def total_cpu_seconds() -> float:
    """Seconds of CPU that everybody used since the machine started."""
    fields = (PROC / "stat").read_text().split("\n", 1)[0].split()
    return sum(int(fields[column]) for column in BUSY_COLUMNS) / TICKS


class Meter:
    """What each of the named process trees used of the CPU since the meter was made, and how much
    of the whole machine all the others took."""

    def __init__(self, processes: Mapping[str, int]) -> None:
        self._processes = dict(processes)
        self._before = {name: cpu_seconds(pid) for name, pid in self._processes.items()}
        self._own = _own_cpu_seconds()
        self._all = total_cpu_seconds()

    def read(self, *, client: float, seconds: float) -> dict[str, float]:
        """Seconds by name, with the ``client``'s; "others" is a share of all cores, from 0 to 1."""
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
    """Megabytes of the process tree of ``pid``: resident, which counts what they share for each of
    them, and proportional, which counts it once."""
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
    """The machine and the commit, to be kept beside every figure. Raises psycopg.Error."""
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
