"""This checkout beside others, on the same database and by turns:
``python -m bench.versions ../before --connections 64``. What counts is the CPU that a request takes
of the web processes and of PostgreSQL together: it says something on a machine that others use."""

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench import ours, serving
from bench.clients import CONNECTIONS, Wrk, need_wrk
from bench.errors import BenchError
from bench.harness import Comparison, Harness, Measured

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
    asked = parser.parse_args()
    try:
        need_wrk()
        with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as place:
            print(HEAD, flush=True)
            for comparison in _compared(asked, Path(place)):
                print(_row(comparison), flush=True)
    except BenchError as error:
        sys.exit(str(error))


def _compared(asked: argparse.Namespace, place: Path) -> Iterator[Comparison]:
    with serving.postgres(place) as server, ours.world(place, server) as world:
        told = serving.environment(place, server)
        with ExitStack() as stack:
            served = {
                checkout.name: stack.enter_context(
                    serving.gunicorn(place / f"{checkout.name}.log", told, checkout=checkout)
                )
                for checkout in (serving.ROOT, *map(Path.resolve, asked.others))
            }
            this, *others = served
            world.log_in(served[this])
            watched = {name: one.pid for name, one in served.items()} | {"database": server.pid}
            harness = Harness(asked.seconds, asked.pairs, watched)
            wanted = [one for one in ours.operations(world) if asked.only in one.name]
            for one, other in itertools.product(wanted, others):
                world.admin.execute("VACUUM (ANALYZE)")
                world.admin.execute("CHECKPOINT")
                sides = [
                    (
                        Measured(name),
                        Wrk(served[name].url, one.request, asked.connections),
                        one.prepare,
                    )
                    for name in (this, other)
                ]
                yield harness.compare(one.name, *sides)


def _row(comparison: Comparison) -> str:
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
