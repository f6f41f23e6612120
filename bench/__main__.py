"""Run the benchmarks: ``make bench``, ``make bench-quick``; see README.md."""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psycopg

from bench import ours, report, sections, serving
from bench.clients import CONNECTIONS, need_wrk
from bench.errors import BenchError
from bench.harness import Comparison
from bench.machine import description, memory_of
from bench.peers.all import PEERS


@dataclass(slots=True)
class Findings:
    """What a run of the benchmarks found, in the order in which it was found."""

    sections: dict[str, list[Comparison]] = field(default_factory=dict)
    memory: dict[str, dict[str, float]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    """What could not be measured, each as a sentence."""


def main() -> None:
    asked = _arguments()
    findings = Findings()
    try:
        need_wrk()
        with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as place:
            told = _run(asked, Path(place), findings)
    except BenchError as error:
        sys.exit(str(error))
    _say(findings)
    _keep(asked, findings, told)


def _arguments() -> argparse.Namespace:
    given = os.environ.get
    names = ", ".join(peer.name for peer in PEERS)
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=float(given("BENCH_SECONDS") or 3))
    parser.add_argument("--pairs", type=int, default=int(given("BENCH_PAIRS") or 5))
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--only", default="", help="operations whose name holds this")
    parser.add_argument(
        "--peers", default="all", help=f"all, none, or some of these, with commas: {names}"
    )
    parser.add_argument("--no-limit", action="store_true", help="peers alone")
    parser.add_argument("--quick", action="store_true", help="runs of a second, and no peers")
    asked = parser.parse_args()
    if asked.quick:
        asked.seconds, asked.peers = 1.0, "none"
    return asked


def _run(asked: argparse.Namespace, place: Path, findings: Findings) -> dict[str, Any]:
    """Fill ``findings``, and say of which machine they are."""
    with serving.postgres(place) as server, ours.world(place, server) as world:
        machine, told = description(server.url), serving.environment(place, server)
        us = sections.counted(world, server, told, place / "web.log", only=asked.only)
        with serving.gunicorn(place / "web.log", told) as served:
            run = sections.Beside(
                us, served, server, world, asked.seconds, asked.pairs, asked.connections
            )
            if not asked.no_limit:
                _measure(findings, "limit", run.the_limit())
            for peer in PEERS:
                if asked.peers == "all" or peer.name in asked.peers.split(","):
                    _measure(findings, peer.name, run.a_peer(peer, place, findings.memory))
            findings.memory["ours"] = memory_of(served.pid)
    return machine


def _measure(findings: Findings, name: str, comparisons: Iterator[Comparison | str]) -> None:
    """All of them, or as many as there are before something can't be had."""
    found = findings.sections.setdefault(name, [])
    try:
        for comparison in comparisons:
            if isinstance(comparison, str):
                findings.left_out.append(f"{name}: {comparison}")
                continue
            print(f"{name}: {comparison.operation}", file=sys.stderr, flush=True)
            found.append(comparison)
    except (BenchError, httpx2.HTTPError, psycopg.Error) as error:
        findings.left_out.append(f"{name}: {error}")


def _say(findings: Findings) -> None:
    for other, comparisons in findings.sections.items():
        if comparisons:
            print(f"\n## Ours beside: {other}\n\n{report.table(other, comparisons)}")
    print(f"\n{report.memory(findings.memory)}")
    for sentence in findings.left_out:
        print(f"\nNot measured: {sentence}")


def _keep(asked: argparse.Namespace, findings: Findings, told: dict[str, Any]) -> None:
    sections = {
        name: [one.as_json() for one in comparisons]
        for name, comparisons in findings.sections.items()
    }
    path = report.written(
        {
            **told,
            "connections": asked.connections,
            "seconds": asked.seconds,
            "pairs": asked.pairs,
            "sections": sections,
            "memory": findings.memory,
            "left_out": findings.left_out,
        }
    )
    print(f"\nWritten to {path}.")


if __name__ == "__main__":
    main()
