"""Whether ``purge`` costs the same a row however many there are:
``python -m bench.purge [--tasks 10000 100000]``.

For each number, a database is filled with so many decided tasks, beside 5,000 that wait, and all of
the decided ones are removed with their approvals, votes and sessions, by the command's own batches.
The cost a row may not grow: the ratio of the last number's to the first's is at most 1.2.
"""

import argparse
import time
from collections import Counter
from datetime import timedelta
from functools import partial
from pathlib import Path

from bench import pages
from bench.measuring import run_server, time_yardstick, use_database

BATCH = 500
MOST_RATIO = 1.2


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.purge", description=__doc__)
    parser.add_argument("--tasks", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--place", type=Path, default=None)
    options = parser.parse_args()
    costs = []
    with run_server(options.place) as url:
        print("| tasks | removed | seconds | ms a row | yardstick, ms |")
        print("| --- | --- | --- | --- | --- |", flush=True)
        for number in options.tasks:
            fill = partial(pages.fill, tasks=number + pages.WAITING)
            use_database(url, f"purge_{number}", fill)
            costs.append(_purge(number))
    print(
        f"\nA row costs {costs[-1] / costs[0]:.2f} of the first; at most {MOST_RATIO} is allowed."
    )


def _purge(number: int) -> float:
    """Remove all decided tasks, print a row, and return the seconds a removed row."""
    from approvals_app.decisions import retention
    from audit_app.base.actors import Actor

    before, start = time_yardstick(), time.perf_counter()
    removed: Counter[str] = Counter()
    by = Actor.system("purge")
    for batch in retention.purge(by=by, older_than=timedelta(), batch_size=BATCH):
        removed += batch
    seconds = time.perf_counter() - start
    yardstick = (before + time_yardstick()) / 2
    cost = seconds / removed.total()
    figures = f"{seconds:.1f} | {1000 * cost:.2f} | {1000 * yardstick:.0f}"
    print(f"| {number:,} | {removed.total():,} | {figures} |", flush=True)
    return cost


if __name__ == "__main__":
    main()
