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
from bench.clients import CONNECTIONS, require_wrk
from bench.errors import BenchError
from bench.harness import Comparison
from bench.machine import describe_machine, measure_memory
from bench.peers.all import PEERS


@dataclass(slots=True)
class Results:
    """The results of one run, in the order in which they were measured."""

    sections: dict[str, list[Comparison]] = field(default_factory=dict)
    memory: dict[str, dict[str, float]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    """What could not be measured: one sentence each, with the reason."""


def main() -> None:
    options = _parse_arguments()
    results = Results()
    try:
        require_wrk()
        with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as folder:
            machine = _run_benchmarks(options, Path(folder), results)
    except BenchError as error:
        sys.exit(str(error))
    _print_results(results)
    _write_results(options, results, machine)


def _parse_arguments() -> argparse.Namespace:
    env = os.environ.get
    names = ", ".join(peer.name for peer in PEERS)
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=float(env("BENCH_SECONDS") or 3))
    parser.add_argument("--pairs", type=int, default=int(env("BENCH_PAIRS") or 5))
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--only", default="", help="operations whose name holds this")
    parser.add_argument(
        "--peers", default="all", help=f"all, none, or some of these, with commas: {names}"
    )
    parser.add_argument("--no-limit", action="store_true", help="peers alone")
    parser.add_argument("--quick", action="store_true", help="runs of a second, and no peers")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.peers = 1.0, "none"
    return options


def _run_benchmarks(options: argparse.Namespace, folder: Path, results: Results) -> dict[str, Any]:
    """Fill ``results``; return the description of the machine."""
    with serving.run_postgres(folder) as server, ours.prepare_world(folder, server) as world:
        machine, environment = (
            describe_machine(server.url),
            serving.server_environment(folder, server),
        )
        operations = sections.count_statements(
            world, server, environment, folder / "web.log", only=options.only
        )
        with serving.run_gunicorn(folder / "web.log", environment) as web:
            comparer = sections.Comparer(
                operations, web, server, world, options.seconds, options.pairs, options.connections
            )
            if not options.no_limit:
                _measure(results, "limit", comparer.compare_with_limit())
            for peer in PEERS:
                if options.peers == "all" or peer.name in options.peers.split(","):
                    _measure(
                        results, peer.name, comparer.compare_with_peer(peer, folder, results.memory)
                    )
            results.memory["ours"] = measure_memory(web.pid)
    return machine


def _measure(results: Results, name: str, comparisons: Iterator[Comparison | str]) -> None:
    """Collect ``comparisons`` until one fails; what failed goes to ``left_out``."""
    measured = results.sections.setdefault(name, [])
    try:
        for comparison in comparisons:
            if isinstance(comparison, str):
                results.left_out.append(f"{name}: {comparison}")
                continue
            print(f"{name}: {comparison.operation}", file=sys.stderr, flush=True)
            measured.append(comparison)
    except (BenchError, httpx2.HTTPError, psycopg.Error) as error:
        results.left_out.append(f"{name}: {error}")


def _print_results(results: Results) -> None:
    for other, comparisons in results.sections.items():
        if comparisons:
            print(f"\n## Ours beside: {other}\n\n{report.comparison_table(other, comparisons)}")
    print(f"\n{report.memory_table(results.memory)}")
    for reason in results.left_out:
        print(f"\nNot measured: {reason}")


def _write_results(options: argparse.Namespace, results: Results, machine: dict[str, Any]) -> None:
    sections = {
        name: [one.as_json() for one in comparisons]
        for name, comparisons in results.sections.items()
    }
    path = report.write_results(
        {
            **machine,
            "connections": options.connections,
            "seconds": options.seconds,
            "pairs": options.pairs,
            "sections": sections,
            "memory": results.memory,
            "left_out": results.left_out,
        }
    )
    print(f"\nWritten to {path}.")


if __name__ == "__main__":
    main()
