"""What it costs to evaluate a task by 50 policies: CPU here, beside another checkout's.

``python -m bench.policies [CHECKOUT] [--rounds N]`` runs each alternately, in processes of their
own, and prints microseconds of CPU a task, child processes included, with the median of the ratios.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(globals().get("__file__", "bench/policies.py")).resolve().parents[1]
PAYLOAD = {
    "amount": "249.90",
    "currency": "EUR",
    "cents": 24990,
    "lines": [{"sku": f"SKU-{number}", "quantity": number} for number in range(20)],
    "customer": {"id": "cus_1", "country": "AT"},
}
FACTS = {
    "agent": "support-bot",
    "from_role": "support-agent",
    "to_role": "finance",
    "task_type": "refund_approval",
    "description": "Refund 249.90 EUR for order 2026-118204.",
    "data": PAYLOAD,
    "context": {"model": "support-bot 3.2"},
}
KINDS = {
    "comparisons": "double(data.amount) > {}.0 && data.currency == 'CHF'",
    "numbers": "data.cents > {}00000 || data.customer.country == 'KP'",
    "loops": "data.lines.exists(line, line.quantity > 10{})",
    "regular expressions": "description.matches('^Wire {} ')",
}
POLICIES = 50


def main() -> None:
    """Print a line for each kind of condition."""
    parser = argparse.ArgumentParser(prog="python -m bench.policies", description=__doc__)
    parser.add_argument("checkout", nargs="?", type=Path, help="another version to compare with")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--measure", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(measure(options.measure))
        return
    for kind in KINDS:
        print(_compare(kind, options.checkout, options.rounds), flush=True)


def measure(kind: str) -> float:
    """Microseconds of CPU that one task costs, evaluated by 50 policies none of which holds."""
    from approvals_app.policy.language import Policy, evaluate

    policies = [
        Policy.parse(
            {
                "name": f"policy {number:02}",
                "then": "refuse",
                "when": {"task_type": "refund*", "condition": KINDS[kind].format(number)},
            }
        )
        for number in range(1, POLICIES + 1)
    ]
    tasks = 100 if kind in ("loops", "regular expressions") else 400
    for _ in range(20):  # compiled, and the process beside started
        evaluate(policies, FACTS, "require")
    before = _spend_cpu()
    for _ in range(tasks):
        evaluate(policies, FACTS, "require")
    return (_spend_cpu() - before) / tasks * 1e6


def _spend_cpu() -> float:
    """Seconds of CPU of this process and of those that it started, which still run."""
    spent = time.process_time()
    for pid in _list_children():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        spent += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return spent + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def _list_children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def _compare(kind: str, checkout: Path | None, rounds: int) -> str:
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(_run(ROOT, kind))
        if checkout:
            theirs.append(_run(checkout, kind))
    line = f"{kind:<20} {median(ours):8.0f} µs"
    if checkout:
        ratio = median(a / b for a, b in zip(ours, theirs, strict=True))
        line += f"   {checkout.name} {median(theirs):8.0f} µs   ratio {ratio:.2f}"
    return line


def _run(checkout: Path, kind: str) -> float:
    program = Path(__file__).read_text()
    done = subprocess.run(
        [sys.executable, "-c", program, "--measure", kind],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


if __name__ == "__main__":
    main()
