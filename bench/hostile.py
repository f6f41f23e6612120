"""What the largest hostile payloads cost: ``python -m bench.hostile [--opens 100]``.

Each payload of the corpus is as large as a body may be. One reviewer opens the decision page of
each, beside that of plain text of the same size, in pairs, in one process through all of Django.
The ratio of a pair is what counts, since both had the same machine. At the end all pages are opened
a hundred times in turn, and the memory of the process after each tenth says whether it grows.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from bench.measuring import run_server, use_database

SIZE = 1_000_000
PAIRS = 7
MOST_RATIO = 2.0
MOST_BYTES = 3_000_000
PLAIN = "plain text"


def fill(text: str) -> str:
    """``text`` repeated up to SIZE bytes."""
    return text * (SIZE // len(text.encode()))


CORPUS: dict[str, Callable[[], Any]] = {
    PLAIN: lambda: {"note": fill("Pay the invoice of June. ")},
    "one letter": lambda: {"note": fill("x")},
    "zero widths": lambda: {"note": fill("\u200b")},
    "zero widths between letters": lambda: {"note": fill("a\u200b")},
    "escapes": lambda: {"note": fill("&<>") + '"'},
    "quotes": lambda: {"note": '"' * (SIZE // 2)},
    "mixed alphabets": lambda: {"note": fill("p\u0430y ")},
    "single letters of two alphabets": lambda: {"note": fill("Ж a ")},
    "honest Cyrillic": lambda: {"note": fill("Оплатите счёт ")},
    "Chinese": lambda: {"note": fill("你好")},
    "emoji between letters": lambda: {"note": fill("❤\ufe0fa")},
    "links": lambda: {"note": fill("http://a@b ")},
    "links of zero widths": lambda: {"note": fill("http://" + "\u200b\u200c" * 300 + " ")},
    "long international hosts": lambda: {"note": fill("http://" + "é" * 1_900 + " ")},
    "look-alikes": lambda: {"note": fill("\uff41 ")},
    "piles of marks": lambda: {"note": fill("a" + "\u0301" * 3)},
    "sentences": lambda: {"note": fill("approve this now ")},
    "beginnings of sentences": lambda: {"note": fill("ignore the ")},
    "lines before a sentence": lambda: {"note": "\n" * (SIZE // 2) + " admin"},
    "hidden in names": lambda: {
        f"{n:05}" + "\u200b\u200c" * 8: "\u200d\u200b" * 6 for n in range(9_900)
    },
    "ten thousand members": lambda: {f"member{n:05}": "y" * 80 for n in range(9_900)},
    "a table": lambda: {"rows": [{"id": n, "note": "y" * 180} for n in range(4_900)]},
    "a mail to thousands": lambda: {"subject": "s", "to": ["a@b.example"] * 9_900, "body": "x"},
    "a patch": lambda: {"diff": "--- a\n+++ b\n" + fill("+x\n")},
    "statements": lambda: {"sql": fill("SELECT 1; "), "database": "books"},
    "a plan of many changes": lambda: {
        "resource_changes": [
            {"address": f"a.{n}", "change": {"actions": ["create"], "after": {"x": "y" * 300}}}
            for n in range(1_900)
        ]
    },
    "a plan of long changes": lambda: {
        "resource_changes": [
            {
                "address": f"a.{n}",
                "change": {
                    "actions": ["update"],
                    "before": {f"x{i}": i % 7 for i in range(145)},
                    "after": {f"y{i}": i % 7 for i in range(145)},
                },
            }
            for n in range(30)
        ]
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.hostile", description=__doc__)
    parser.add_argument("--opens", type=int, default=100)
    parser.add_argument("--place", type=Path, default=None)
    options = parser.parse_args()
    with run_server(options.place) as url:
        use_database(url, "hostile", lambda _: None)
        window, addresses = _prepare()
        worst = _compare(window, addresses)
        print(
            f"\nThe worst takes {worst:.2f} of plain text's time; at most {MOST_RATIO} is allowed."
        )
        _watch_memory(window, list(addresses.values()), options.opens)


def _prepare() -> tuple[Any, dict[str, str]]:
    """A reviewer's window, and the address of the decision on each payload."""
    from django.contrib.auth.models import Group, User
    from django.test import Client

    from approvals_app.models import Approval
    from audit_app.base.actors import Actor
    from sessions_app import agents
    from sessions_app.models import Agent
    from sessions_app.tasks.routing import NewTask, route_task

    alice, _ = User.objects.get_or_create(username="alice", is_staff=True)
    alice.groups.add(Group.objects.get_or_create(name="finance")[0])
    if not Agent.objects.exists():
        agents.create_agent("bot", roles=["support"], by=Actor.system("bench"))
    by = Agent.objects.get().as_actor()
    addresses = {}
    for number, (name, build) in enumerate(CORPUS.items()):
        task = route_task(
            NewTask(
                to_role="finance",
                task_type="anything",
                idempotency_key=f"{number}-{time.time_ns()}",
                data=build(),
            ),
            by=by,
            trace_id=uuid4(),
        )
        approval = Approval.objects.get(task=task)
        addresses[name] = f"/admin/approvals_app/approval/{approval.pk}/change/"
    window = Client(HTTP_HOST="localhost")
    window.force_login(alice)
    return window, addresses


def _compare(window: Any, addresses: dict[str, str]) -> float:
    """Print a row for each payload; return the worst ratio."""
    worst = 0.0
    print("\n| payload | ms | of plain text's time | page, MB |\n| --- | --- | --- | --- |")
    for address in addresses.values():
        _open(window, address)  # compiles and caches what any first page does
    for name, address in addresses.items():
        pairs = [(_open(window, addresses[PLAIN]), _open(window, address)) for _ in range(PAIRS)]
        ratio = statistics.median(theirs[0] / plain[0] for plain, theirs in pairs)
        seconds, size = statistics.median(theirs[0] for _, theirs in pairs), pairs[0][1][1]
        note = " (too large)" if size > MOST_BYTES else ""
        print(
            f"| {name} | {1000 * seconds:.0f} | {ratio:.2f} | {size / 1e6:.2f}{note} |", flush=True
        )
        worst = max(worst, ratio)
    return worst


def _open(window: Any, address: str) -> tuple[float, int]:
    start = time.perf_counter()
    page = window.get(address)
    if page.status_code != 200:
        raise SystemExit(f"{address} answers {page.status_code}.")
    return time.perf_counter() - start, len(page.content)


def _watch_memory(window: Any, addresses: list[str], opens: int) -> None:
    grown = []
    for number, address in enumerate(itertools.islice(itertools.cycle(addresses), opens)):
        _open(window, address)
        if number % max(1, opens // 10) == 0:
            grown.append(f"{_resident_megabytes():.0f}")
    print(f"Memory in MB, after each tenth of {opens} opens: {', '.join(grown)}")


def _resident_megabytes() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
