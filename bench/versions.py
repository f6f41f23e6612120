"""Compares this checkout with others, on the same database and taking turns:
``python -m bench.versions ../before --connections 64``. What counts is the CPU per request of the
web processes and PostgreSQL together, which means something even on a busy machine."""

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench import ours, serving
from bench.clients import CONNECTIONS, Wrk, require_wrk
from bench.errors import BenchError
from bench.harness import Comparison, Harness, Measurement

HEAD = (
    "| operation | this: a second, CPU ms of web, database | other: the same | CPU, this/other |\n"
    "| --- | --- | --- | --- |"
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.versions", description=__doc__)
    parser.add_argument("others", type=Path, nargs="+", help="where others are checked out")
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", default="", help="operations whose name holds this")
    options = parser.parse_args()
    try:
        require_wrk()
        with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as folder:
            print(HEAD, flush=True)
            for comparison in _compare_versions(options, Path(folder)):
                print(_format_row(comparison), flush=True)
    except BenchError as error:
        sys.exit(str(error))


def _compare_versions(options: argparse.Namespace, folder: Path) -> Iterator[Comparison]:
    with serving.run_postgres(folder) as server, ours.prepare_world(folder, server) as world:
        environment = serving.server_environment(folder, server)
        with ExitStack() as stack:
            servers = {
                checkout.name: stack.enter_context(
                    serving.run_gunicorn(
                        folder / f"{checkout.name}.log", environment, checkout=checkout
                    )
                )
                for checkout in (serving.ROOT, *map(Path.resolve, options.others))
            }
            this, *others = servers
            world.log_in(servers[this])
            processes = {name: one.pid for name, one in servers.items()} | {"database": server.pid}
            harness = Harness(options.seconds, options.pairs, processes)
            operations = [one for one in ours.list_operations(world) if options.only in one.name]
            for one, other in itertools.product(operations, others):
                world.admin.execute("VACUUM (ANALYZE)")
                world.admin.execute("CHECKPOINT")
                sides = [
                    (
                        Measurement(name),
                        Wrk(servers[name].url, one.request, options.connections),
                        one.prepare,
                    )
                    for name in (this, other)
                ]
                yield harness.compare(one.name, *sides)


def _format_row(comparison: Comparison) -> str:
    sides, sums = [], []
    for side in (comparison.ours, comparison.other):
        web, database = side.cpu_ms[side.name], side.cpu_ms["database"]
        sides.append(f"{side.per_second:,.0f}, {web:.2f}, {database:.2f}")
        sums.append(web + database)
    cells = [
        f"`{comparison.operation}`",
        sides[0],
        f"{comparison.other.name}: {sides[1]}",
        f"{sums[0] / sums[1]:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
