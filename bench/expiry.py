"""The cost of expiry beside a bare statement: ``python -m bench.expiry [--rows 1000000 5000000]``.

For each number, a database is filled with so many sessions (or, with ``--of approvals``, tasks with
an approval each), 200,000 of them overdue and spread evenly. They are expired by the command's own
batches, one transaction each, and by one statement that does the same to the same rows, events and
triggers included. The two take turns, and their effect is undone in between. Each row shows the
medians of the pairs; what counts is the ratio of rows per second. Where the ratios spread by more
than a quarter, there is no figure. The longest transaction and an empty run are timed as well.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from bench.measuring import run_script, run_server, use_database

OVERDUE = 200_000
PAIRS = 3
EMPTY_RUNS = 20
NOISY_SPREAD = 0.25
OLDER_THAN = timedelta(days=7)

AGENT = """
INSERT INTO agents (id, version, created_at, updated_at, name, roles, status)
VALUES ('00000000-0000-4000-8000-000000000001', 1, now(), now(), 'bot', ARRAY['support'], 'active')
"""
NUMBERED_SQL = """
SELECT n, md5(%(kind)s || n)::uuid AS id, n %% (%(rows)s / %(overdue)s) = 0 AS late,
    now() - (%(rows)s - n) * interval '1 second' - interval '30 days' AS at
FROM generate_series(1, %(rows)s) n
"""
SESSIONS = f"""
INSERT INTO sessions (id, version, created_at, updated_at, role, status, metadata, trace_id,
    agent_id)
SELECT id, 1, at, at, 'support', CASE WHEN late THEN 'active' ELSE 'completed' END, '{{}}',
    gen_random_uuid(), '00000000-0000-4000-8000-000000000001' FROM ({NUMBERED_SQL}) made
"""  # noqa: S608  # our own text
TASKS = f"""
INSERT INTO tasks (id, version, created_at, updated_at, task_type, description, from_role, to_role,
    data, context, payload, revision, trace_id, idempotency_key, status, agent_id, on_behalf_of,
    policy, verdict, why)
SELECT id, 1, at, at, 'refund', '', 'support', 'finance', '{{}}', '{{}}',
    '{{"context":{{}},"data":{{}},"description":"","from_role":"support","task_type":"refund",'
        || '"to_role":"finance"}}', 1, gen_random_uuid(), 'key-' || n,
    CASE WHEN late THEN 'awaiting_approval' ELSE 'completed' END,
    '00000000-0000-4000-8000-000000000001', '', '', '', '' FROM ({NUMBERED_SQL}) made;
INSERT INTO approvals (id, version, created_at, updated_at, approver_role, status, reason,
    payload_digest, expires_at, notes, trace_id, task_id, at_deadline, deny_threshold, needed,
    reminders, revision, risk, type_out)
SELECT md5('approval' || id)::uuid, 1, created_at, created_at, 'finance',
    CASE status WHEN 'completed' THEN 'withdrawn' ELSE 'pending' END, '', payload_digest,
    created_at + interval '1 day', '', trace_id, id, '{{"escalate":[],"then":"reject"}}', 1, 1,
    '[]', 1, 'normal', '' FROM tasks
"""  # noqa: S608  # our own text
FIRST_EVENT = """
INSERT INTO audit_events (entry)
SELECT audit_entry(event_type => '{event}', actor => 'agent:bot', actor_id => '1',
    subject_type => '{kind}', subject_id => id, seq => 1, from_state => NULL, to_state => status,
    role => '', trace_id => trace_id, metadata => '{{}}', at => created_at)
FROM {table} WHERE status = '{status}'
"""
BARE = """
WITH changed AS (
    UPDATE {table} SET status = 'expired', version = version + 1, updated_at = clock_timestamp()
    WHERE status = '{status}' AND {late}
    RETURNING id, version, updated_at, {role} AS role, trace_id
)
INSERT INTO audit_events (entry)
SELECT audit_entry(event_type => '{kind}.expired', actor => 'system:bare', actor_id => 'bare',
    subject_type => '{kind}', subject_id => id, seq => version, from_state => '{status}',
    to_state => 'expired', role => role, trace_id => trace_id, metadata => '{{"reason":"overdue"}}',
    at => updated_at)
FROM changed
"""
UNDO = """
UPDATE {table} SET status = '{status}', version = 1, updated_at = created_at
WHERE status = 'expired'
"""


@dataclass(frozen=True, slots=True)
class ExpiringTable:
    """A table whose rows expire, and the first event of each row."""

    table: str
    kind: str
    status: str
    role: str
    late: str
    first_event: str

    def render(self, text: str) -> str:
        return text.format(
            table=self.table,
            kind=self.kind,
            status=self.status,
            role=self.role,
            late=self.late,
            event=self.first_event,
        )


SESSION = ExpiringTable(
    "sessions",
    "session",
    "active",
    "role",
    "updated_at < clock_timestamp() - interval '7 days'",
    "session.opened",
)
APPROVAL = ExpiringTable(
    "approvals",
    "approval",
    "pending",
    "approver_role",
    "expires_at <= clock_timestamp()",
    "approval.requested",
)
TASK = ExpiringTable(
    "tasks",
    "task",
    "awaiting_approval",
    "to_role",
    "id IN (SELECT task_id FROM approvals WHERE status = 'expired')",
    "task.routed",
)
EXPIRING_TABLES = {"sessions": (SESSION,), "approvals": (APPROVAL, TASK)}
FILL_SQL = {"sessions": SESSIONS, "approvals": TASKS}


@dataclass(slots=True)
class Timings:
    rows: int
    ours: list[float] = field(default_factory=list)
    """Seconds to expire everything overdue, one per pair."""

    bare: list[float] = field(default_factory=list)
    transactions: list[float] = field(default_factory=list)
    empty: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        return [bare / ours for ours, bare in zip(self.ours, self.bare, strict=True)]

    @property
    def spread(self) -> float:
        return (max(self.ratios) - min(self.ratios)) / statistics.median(self.ratios)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--of", choices=EXPIRING_TABLES, default="sessions")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 5_000_000])
    parser.add_argument("--overdue", type=int, default=OVERDUE)
    parser.add_argument("--batch-size", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--place", type=Path, help="a folder that keeps the databases")
    options = parser.parse_args()
    with run_server(options.place, {"shared_buffers": "1GB", "max_wal_size": "8GB"}) as url:
        timings = []
        for rows in options.rows:
            database_url = use_database(
                url,
                f"expiry_{options.of}_{rows}_{options.overdue}",
                partial(_fill, options=options, rows=rows),
                filled="agents",
            )
            timings.append(_measure(options, rows, database_url))
        _print_results(timings, options)


def _fill(builder: "psycopg.Connection[Any]", options: argparse.Namespace, rows: int) -> None:
    values = {"rows": rows, "overdue": options.overdue, "kind": options.of}
    run_script(builder, AGENT, {})
    run_script(builder, FILL_SQL[options.of], values)
    for each in EXPIRING_TABLES[options.of]:
        builder.execute(each.render(FIRST_EVENT).encode())


def _measure(options: argparse.Namespace, rows: int, url: str) -> Timings:
    timings = Timings(rows)
    for pair in range(options.pairs):
        sides: list[Callable[[], None]] = [
            lambda: timings.ours.append(_time_batches(options, timings)),
            lambda: timings.bare.append(_time_one_statement(options, url)),
        ]
        # Alternate which side is first: the second may find warm caches.
        for side in sides if pair % 2 else reversed(sides):
            _undo_expiry(options, url)
            side()
    for _ in range(EMPTY_RUNS):
        start = time.perf_counter()
        assert not list(_expire_batches(options))
        timings.empty.append(time.perf_counter() - start)
    _undo_expiry(options, url)
    return timings


def _expire_batches(options: argparse.Namespace) -> Iterator[int]:
    from approvals_app.decisions.deadlines import expire_approvals
    from audit_app.base.actors import Actor
    from sessions_app.expiry import expire_sessions

    by = Actor.system("bench")
    if options.of == "sessions":
        return expire_sessions(by=by, older_than=OLDER_THAN, batch_size=options.batch_size)
    return expire_approvals(by=by, batch_size=options.batch_size)


def _time_batches(options: argparse.Namespace, timings: Timings) -> float:
    start = last = time.perf_counter()
    expired = 0
    for batch in _expire_batches(options):
        now = time.perf_counter()
        timings.transactions.append(now - last)
        last, expired = now, expired + batch
    if expired != options.overdue:
        raise SystemExit(f"{expired} were expired, and {options.overdue} are overdue.")
    return time.perf_counter() - start


def _time_one_statement(options: argparse.Namespace, url: str) -> float:
    with psycopg.connect(url) as connection:
        start = time.perf_counter()
        for each in EXPIRING_TABLES[options.of]:
            expired = connection.execute(each.render(BARE).encode()).rowcount
            if expired != options.overdue:
                raise SystemExit(f"{expired} were expired, and {options.overdue} are overdue.")
        connection.commit()
        return time.perf_counter() - start


def _undo_expiry(options: argparse.Namespace, url: str) -> None:
    """Make the expired rows overdue again, and vacuum, so that every run starts from the same."""
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("SET session_replication_role = replica")
        for each in EXPIRING_TABLES[options.of]:
            admin.execute(each.render(UNDO).encode())
        admin.execute("DELETE FROM audit_events WHERE seq > 1")
        tables = ", ".join(each.table for each in EXPIRING_TABLES[options.of])
        admin.execute(f"VACUUM (ANALYZE) {tables}, audit_events".encode())
        admin.execute("CHECKPOINT")


def _print_results(timings: list[Timings], options: argparse.Namespace) -> None:
    print(f"\n{options.overdue:,} overdue {options.of}, {options.batch_size:,} a transaction\n")
    print(
        "| among | ours, rows/s | one statement, rows/s | ratio | spread | longest transaction ms"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for one in timings:
        ours, bare = (options.overdue / statistics.median(times) for times in (one.ours, one.bare))
        ratio = (
            f"{statistics.median(one.ratios):.2f}" if one.spread <= NOISY_SPREAD else "too noisy"
        )
        longest = 1000 * max(one.transactions)
        print(
            f"| {one.rows:,} | {ours:,.0f} | {bare:,.0f} | {ratio} | {one.spread:.0%} "
            f"| {longest:.0f} |"
        )
    for one in timings:
        empty = 1000 * statistics.median(one.empty)
        print(f"\nAn empty run among {one.rows:,}: {empty:.1f} ms")
    if len(timings) > 1:
        cost = statistics.median(timings[-1].ours) / statistics.median(timings[0].ours)
        print(
            f"\nThe cost among {timings[-1].rows:,} over that among {timings[0].rows:,}: {cost:.2f}"
        )


if __name__ == "__main__":
    main()
