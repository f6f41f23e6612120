"""What hostile payloads do to everybody else: ``python -m bench.hostile_policies [--pairs N]``.

With ``--cpu``, how much CPU evaluating one takes, which a busy machine does not change: of an agent
whose slow evaluations count against its allowance, and of nobody's.

Polite agents route tasks at a steady rate; conditions with loops are evaluated on each. Beside them
another agent sends large payloads, in windows by turns: of a type that no condition asks about, and
of one on which a condition is late. Every second pair begins with the hostile window, so that what
drifts counts on both sides. Prints the p95 of the polite ones in both, and the ratio of the p95s
over all windows: a p95 of one window alone scatters by a half.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from statistics import median, quantiles

import httpx2

from bench import ours, serving

HOSTILE_CONDITION = "data.items.all(i, !data.words.matches('(x+x+)+y'))"
POLICIES = f"""
policies:
  - name: Hostile
    when: {{task_type: hostile, condition: "{HOSTILE_CONDITION}"}}
    then: approve
  - name: Polite
    when: {{task_type: polite, condition: "data.lines.all(line, line.quantity > 0)"}}
    then: approve
"""
POLITE = {"lines": [{"quantity": number + 1} for number in range(20)]}
HOSTILE = {"items": list(range(3_000)), "words": "x" * 30_000}
RATE = 20
"""Polite requests a second, over all connections."""
CONNECTIONS = 4
ATTACKS = 5
numbers = count()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.hostile_policies", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args()
    if options.cpu:
        for payer, name in (("", "no allowance"), ("mallory", "an agent's allowance")):
            used = _measure_cpu(payer, round(options.seconds * ATTACKS))
            print(f"{used * 1e3:6.1f} ms of CPU an evaluation: {name}", flush=True)
        return
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as folder:
        _measure(Path(folder), options.seconds, options.pairs)


def _measure_cpu(payer: str, count: int) -> float:
    """Seconds of CPU of the processes beside that each of ``count`` evaluations takes."""
    from approvals_app.policy.conditions import VARIABLES, Condition, Facts
    from approvals_app.policy.facts import PayloadFacts
    from approvals_app.policy.runtime import ConditionFailed

    condition = Condition(HOSTILE_CONDITION)
    known = dict.fromkeys(VARIABLES, "") | {"data": HOSTILE}
    before = 0.0
    for number in range(-1, count):  # the first one starts the processes
        due = time.monotonic() + 1 / ATTACKS
        with suppress(ConditionFailed):
            condition.holds(Facts(PayloadFacts("", known, payer)))
        if number < 0:
            before = _read_cpu_of_children()
        time.sleep(max(0.0, due - time.monotonic()))
    return (_read_cpu_of_children() - before) / count


def _read_cpu_of_children() -> float:
    """Seconds of CPU of the running children, and of their own that have ended."""
    spent = 0
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        spent += sum(map(int, fields[11:15]))
    return spent / os.sysconf("SC_CLK_TCK")


def _measure(folder: Path, seconds: float, pairs: int) -> None:
    with serving.run_postgres(folder) as postgres, ours.prepare_world(folder, postgres) as world:
        _apply_policies()
        environment = serving.server_environment(folder, postgres) | {"WEB_CONCURRENCY": "2"}
        with serving.run_gunicorn(folder / "web.log", environment) as web:
            _route_for(web.url, world.asking_key, seconds / 4)
            every: dict[str, list[float]] = {"large": [], "hostile": []}
            ratios = []
            for number in range(pairs):
                taken, sent = {}, {}
                for kind in list(every)[:: -1 if number % 2 else 1]:
                    with _attack(web.url, world.reading_key, kind) as tasks:
                        taken[kind] = _route_for(web.url, world.asking_key, seconds)
                    every[kind] += taken[kind]
                    sent[kind] = len(tasks)
                ratios.append(_print_p95s(taken, sent))
            pooled = {kind: _find_p95(taken) for kind, taken in every.items()}
            print(
                f"over all windows: p95 {pooled['large'] * 1e3:.1f} and "
                f"{pooled['hostile'] * 1e3:.1f} ms, "
                f"ratio {pooled['hostile'] / pooled['large']:.2f}; "
                f"median of the pairs' ratios {median(ratios):.2f}"
            )
            httpx2.get(f"{web.url}/health", timeout=30).raise_for_status()


def _print_p95s(taken: dict[str, list[float]], sent: dict[str, int]) -> float:
    """Print one pair, and return its ratio."""
    p95 = {kind: _find_p95(each) for kind, each in taken.items()}
    ratio = p95["hostile"] / p95["large"]
    print(
        f"p95 {p95['large'] * 1e3:6.1f} ms beside {sent['large']} large tasks, "
        f"{p95['hostile'] * 1e3:6.1f} ms beside {sent['hostile']} hostile ones: {ratio:.2f}",
        flush=True,
    )
    return ratio


def _apply_policies() -> None:
    from approvals_app.policy.files import parse_file
    from approvals_app.policy.operations import apply_policies
    from audit_app.base.actors import Actor

    apply_policies(parse_file(POLICIES), by=Actor.system("bench"))


def _route_for(url: str, key: str, seconds: float) -> list[float]:
    """Seconds that each polite request took, counted from when it was due."""
    taken: list[float] = []
    started = time.monotonic()

    def send(connection: int) -> None:
        with httpx2.Client(base_url=url, timeout=60) as client:
            for turn in count():
                due = started + (turn * CONNECTIONS + connection) / RATE
                if due > started + seconds:
                    return
                time.sleep(max(0.0, due - time.monotonic()))
                _route(client, key, "polite", POLITE)
                taken.append(time.monotonic() - due)

    _run_threads([threading.Thread(target=send, args=(n,)) for n in range(CONNECTIONS)])
    return taken


@contextmanager
def _attack(url: str, key: str, task_type: str) -> Iterator[list[None]]:
    """Send large payloads until the block ends, ATTACKS a second at most."""
    ended, sent = threading.Event(), list[None]()

    def send() -> None:
        with httpx2.Client(base_url=url, timeout=60) as client:
            while not ended.is_set():
                due = time.monotonic() + 1 / ATTACKS
                _route(client, key, task_type, HOSTILE)
                sent.append(None)
                ended.wait(max(0.0, due - time.monotonic()))

    attacker = threading.Thread(target=send)
    attacker.start()
    try:
        yield sent
    finally:
        ended.set()
        attacker.join()


def _route(client: httpx2.Client, key: str, task_type: str, data: object) -> None:
    body = {"target": "finance", "task": {"task_type": task_type, "data": data}}
    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "Idempotency-Key": f"hostile-{next(numbers)}",
    }
    client.post("/tasks/route", content=json.dumps(body), headers=headers).raise_for_status()


def _run_threads(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _find_p95(taken: list[float]) -> float:
    return quantiles(taken, n=20)[-1]


if __name__ == "__main__":
    main()
