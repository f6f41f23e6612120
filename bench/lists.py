"""The latency of lists at size: ``python -m bench.lists [--rows 50000 5000000]``.

For each number, a database is filled with so many sessions, tasks, approvals and events each
(lists_rows.py). Then five callers request every list with every filter: ``root``, who may read
everything; alice, who reviews for finance; the agent ``many``, who made most rows; ``payer``, whose
role is the target of half of the tasks; and ``few``, who made twenty rows. Requests run one at a
time, in one process through all of Django, taking turns between the two sizes so that both have the
same machine; the first turn is a warm-up. What counts is the ratio. A row is marked where the
yardstick shows that other processes used the machine.

``--place`` keeps the databases: filling the large one takes seven minutes and 20 GB.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import lists_rows
from bench.measuring import NOISY_YARDSTICK, count_rows, run_server, time_yardstick, use_database

TABLES = ("sessions", "tasks", "approvals", "audit_events")
CALLERS = ("root", "alice", "many", "payer", "few")
PEOPLE = ("root", "alice")
TURNS = 5
REQUESTS_PER_TURN = 3
ALLOWED_RATIO = 1.5
ROWS_BEFORE = 999 * 20 - 1
"""Rows before the last one on page 999."""

SLOW_SECONDS = 2.0
"""Seconds: a request that takes longer is sent once a turn."""

UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
MANY, RARE, NONE = "many", "rare", "none"


@dataclass(slots=True)
class ListTimings:
    """One list as one caller requests it, with the milliseconds it took by number of rows."""

    caller: str
    name: str
    paths: dict[int, str]
    times: dict[int, list[float]] = field(default_factory=dict)
    slower: float = 1.0

    def p50(self, rows: int) -> float:
        return statistics.median(self.times[rows])

    def ratio(self, small: int, large: int) -> float:
        return self.p50(large) / self.p50(small)


class Database:
    """A filled database, with a test client for each caller."""

    def __init__(self, url: str, rows: int) -> None:
        self.rows = rows
        self.name = f"lists_{rows}"
        self.url = use_database(url, self.name, lambda builder: lists_rows.fill(builder, rows))
        self.clients = {caller: _make_client(caller) for caller in CALLERS}

    def use(self) -> None:
        """Point Django's connection and cache at this database."""
        from django.core.cache import cache
        from django.db import connection

        cache.key_prefix = self.name
        if connection.settings_dict["NAME"] != self.name:
            connection.close()
            connection.settings_dict["NAME"] = self.name


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs=2, default=[50_000, 5_000_000])
    parser.add_argument("--only", default="", help="lists whose name holds this")
    parser.add_argument("--who", nargs="+", choices=CALLERS, default=CALLERS)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--place", type=Path, help="a folder that keeps the databases")
    options = parser.parse_args()
    small, large = sorted(options.rows)
    with run_server(options.place, {"shared_buffers": "2GB", "max_wal_size": "8GB"}) as url:
        databases = [Database(url, small), Database(url, large)]
        for each in databases:
            print(", ".join(f"{n:,} {table}" for table, n in count_rows(each.url, TABLES).items()))
        _print_summary(_measure(databases, options), small, large)


def _make_client(caller: str) -> Any:
    from django.contrib.auth.models import User
    from django.test import Client

    if caller not in PEOPLE:
        return Client(headers={"host": "localhost", "authorization": f"Bearer ork_{caller}"})
    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.get(username=caller))
    return client


def _get_actor(caller: str) -> Any:
    from django.contrib.auth.models import User

    from audit_app.base.actors import Actor
    from sessions_app.models import Agent

    if caller in PEOPLE:
        return Actor.human(User.objects.get(username=caller))
    return Agent.objects.get(name=caller).as_actor()


def _list_paths() -> Iterator[tuple[str, str]]:
    """The name and the path of each list; ``{one_session}`` and the like are filled in later."""
    sessions = {
        "state": ("completed", "failed", "pending"),
        "agent_role": ("support", "billing", "nobody"),
        "task_id": ("much", "ticket-1", "nothing"),
        "created_after": ("{half}", "{late}", "2100-01-01T00:00:00Z"),
        "created_before": ("{half}", "{early}", "1970-01-01T00:00:00Z"),
    }
    tasks = {
        "to_role": ("finance", "museum", "nobody"),
        "from_role": ("support", "billing", "nobody"),
        "status": ("completed", "failed", "awaiting_approval"),
        "task_type": ("refund_3", "audit", "nothing"),
        "session_id": ("{one_session}", "{rare_session}", UNKNOWN_ID),
        "trace_id": ("{one_trace}", "{rare_trace}", UNKNOWN_ID),
    }
    approvals = {
        "status": ("approved", "rejected", "pending"),
        "approver_role": ("finance", "museum", "nobody"),
        "task_id": ("{one_task}", "{rare_task}", UNKNOWN_ID),
    }
    events = {
        "event_type": ("task.routed", "task.revised", "vote.cast"),
        "role": ("finance", "museum", "nobody"),
        "actor": ("agent:many", "agent:few", "agent:nobody"),
        "subject": ("{one_task}", "{rare_task}", UNKNOWN_ID),
        "trace_id": ("{one_trace}", "{rare_trace}", UNKNOWN_ID),
        "from": ("{half}", "{late}", "2100-01-01T00:00:00Z"),
        "to": ("{half}", "{early}", "1970-01-01T00:00:00Z"),
    }
    lists = {
        "/sessions": sessions,
        "/tasks": tasks,
        "/approvals": approvals,
        "/audit/events": events,
    }
    for path, filters in lists.items():
        yield path, path
        yield f"{path}, page 1,000 by cursor", f"{path}?cursor={{cursor}}"
        if path != "/audit/events":
            yield f"{path}, page 100", f"{path}?page=100"
        for name, values in filters.items():
            for kind, value in zip((MANY, RARE, NONE), values, strict=True):
                yield f"{path}, {name}: {kind}", f"{path}?{name}={value}"
    yield "/sessions/{id}/tasks", "/sessions/{own_session}/tasks"


def _find_values(caller: str) -> dict[str, str]:
    """The values of the paths' placeholders, from the database in use."""
    from sessions_app.models import AgentSession, Task

    actor = _get_actor(caller)
    newest = Task.objects.order_by("-created_at")
    one, rare = newest[5_000], newest.filter(task_type="audit").first()
    assert rare is not None
    first = newest.last()
    assert first is not None
    span = newest[0].created_at - first.created_at
    task = Task.objects.visible_to(actor).order_by("-created_at").first()
    own = AgentSession.objects.visible_to(actor).filter(tasks=task).first() or one.session
    at = {"half": 0.5, "late": 0.999, "early": 0.001}
    return {
        **{
            name: f"{first.created_at + span * part:%Y-%m-%dT%H:%M:%SZ}"
            for name, part in at.items()
        },
        "one_session": str(one.session_id),
        "one_task": str(one.pk),
        "one_trace": str(one.trace_id),
        "rare_session": str(rare.session_id),
        "rare_task": str(rare.pk),
        "rare_trace": str(rare.trace_id),
        "own_session": str(own and own.pk),
    }


def _find_cursors(caller: str) -> dict[str, str]:
    """By list, the cursor of page 1,000; "" (the first page) where there are fewer."""
    from approvals_app.models import Approval
    from audit_app.live import event_log
    from audit_app.models import Event
    from orchestrator.web.pagination import cursor_values, sign_cursor
    from sessions_app.models import AgentSession, Task

    actor, key = _get_actor(caller), ("-created_at", "-id")
    cursors = {}
    for path, model in {"/sessions": AgentSession, "/tasks": Task, "/approvals": Approval}.items():
        rows = model.objects.visible_to(actor).order_by(*key)[ROWS_BEFORE : ROWS_BEFORE + 1]
        cursors[path] = "".join(sign_cursor(cursor_values(row, key), path) for row in rows)
    events = Event.objects.order_by("xid", "position")[ROWS_BEFORE : ROWS_BEFORE + 1]
    return cursors | {"/audit/events": "".join(str(event_log.cursor_of(event)) for event in events)}


def _measure(databases: list[Database], options: argparse.Namespace) -> list[ListTimings]:
    timings, best = [], min(time_yardstick() for _ in range(5))
    for caller in options.who:
        values, cursors = {}, {}
        for each in databases:
            each.use()
            values[each.rows], cursors[each.rows] = _find_values(caller), _find_cursors(caller)
        for name, template in _list_paths():
            if options.only not in name:
                continue
            one = ListTimings(caller, name, {})
            for each in databases:
                each.use()
                cursor = cursors[each.rows].get(template.partition("?")[0], "")
                path_values = values[each.rows] | {"cursor": cursor}
                one.paths[each.rows] = template.format(**path_values)
                one.times[each.rows] = []
            now = time_yardstick()
            best = min(best, now)
            one.slower = now / best
            _time_requests(one, databases, options.turns)
            timings.append(one)
            small, large = (each.rows for each in databases)
            print(_format_row(one, small, large), flush=True)
    return timings


def _time_requests(one: ListTimings, databases: list[Database], turns: int) -> None:
    for turn in range(turns + 1):
        for each in databases:
            each.use()
            client, path = each.clients[one.caller], one.paths[each.rows]
            for _ in range(REQUESTS_PER_TURN):
                start = time.perf_counter()
                response = client.get(path)
                took = time.perf_counter() - start
                if response.status_code not in (200, 404):
                    raise SystemExit(f"{path} of {one.caller} answered {response.status_code}.")
                if turn or took > SLOW_SECONDS:  # the first turn is a warm-up
                    one.times[each.rows].append(1000 * took)
                if took > SLOW_SECONDS:
                    break
        if turn and any(one.p50(each.rows) > 1000 * SLOW_SECONDS for each in databases):
            return


def _format_row(one: ListTimings, small: int, large: int) -> str:
    ratio = one.ratio(small, large)
    marks = ["too much"] if ratio > ALLOWED_RATIO else []
    marks += ["noisy"] if one.slower > NOISY_YARDSTICK else []
    before, after = one.p50(small), one.p50(large)
    columns = f"| {one.caller} | {one.name} | {before:.1f} | {after:.1f} | {ratio:.2f} "
    return f"{columns}| {', '.join(marks)} |"


def _print_summary(timings: list[ListTimings], small: int, large: int) -> None:
    print(f"\nBy caller: the ratio of {large:,} to {small:,} rows\n")
    print("| who | lists | median ratio | largest | over the allowed | p50 ms at most |")
    print("| --- | --- | --- | --- | --- | --- |")
    for caller in dict.fromkeys(one.caller for one in timings):
        own = [one for one in timings if one.caller == caller]
        ratios = [one.ratio(small, large) for one in own]
        over = sum(ratio > ALLOWED_RATIO for ratio in ratios)
        slowest = max(one.p50(large) for one in own)
        print(
            f"| {caller} | {len(own)} | {statistics.median(ratios):.2f} | {max(ratios):.2f} "
            f"| {over} | {slowest:.0f} |"
        )
    if sum(one.slower > NOISY_YARDSTICK for one in timings) * 4 > len(timings):
        print("\nThe machine was too noisy for these figures to be used.")


if __name__ == "__main__":
    main()
