"""Hot queries enter tables by an index, however large these are.

The tables hold 5,000 rows each, as in bench/lists_rows.py, and PostgreSQL is told that they hold
five million: its statistics are of the real rows, the number is made up, and all of it is rolled
back. plans.txt keeps what it would do; UPDATE_PLANS=1 writes it anew.
"""

import difflib
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client

from approvals_app.decisions.deadlines import expire_approvals
from approvals_app.models import Approval
from approvals_app.review import inbox
from audit_app.base.actors import Actor
from audit_app.live import event_log
from audit_app.trail import idempotency
from bench import lists_rows
from sessions_app.expiry import expire_approved, expire_sessions, release_leases
from sessions_app.models import AgentSession
from tests.database import KEPT as KEPT_TABLES
from tests.plans.plans import BIG, describe_plan, indexes_of, nodes, plan_of, plans_of, read_whole

KEPT = Path(__file__).parent / "plans.txt"
ROWS = 5_000
TIMES = 1_000
SYSTEM = Actor.system("plans")
NOBODY = "00000000-0000-4000-8000-000000000000"
FILTERS = {
    "/sessions": {
        "state=failed": "sessions_status",
        "agent_role=billing": "sessions_role",
        "task_id=ticket-1": "sessions_task_id",
        "created_after=2100-01-01T00:00:00Z": "sessions_created_at",
        "created_before=1970-01-01T00:00:00Z": "sessions_created_at",
    },
    "/tasks": {
        "to_role=museum": "tasks_to_role",
        "from_role=billing": "tasks_from_role",
        "status=failed": "tasks_status",
        "task_type=audit": "tasks_type",
        f"session_id={NOBODY}": "tasks_session_id",
        f"trace_id={NOBODY}": "tasks_trace_id",
    },
    "/approvals": {
        "status=rejected": "approvals_status",
        "approver_role=museum": "approvals_role",
        f"task_id={NOBODY}": "approvals_task_id",
    },
    "/audit/events": {
        "event_type=vote.cast": "audit_events_type",
        "role=nobody": "audit_events_role",
        "actor=agent:nobody": "audit_events_actor",
        f"subject={NOBODY}": "audit_events_subject",
        f"trace_id={NOBODY}": "audit_events_trace",
        "from=2100-01-01T00:00:00Z": "audit_events_timestamp",
    },
}
IN_SQL = {
    "freezes_covering",
    "tasks_words",
    "approvals_voices",
    "reviewer_facts",
    "approval_obstacle",
    "conflict_of_interest",
    "vote_obstacle",
    "seat_obstacles",
    "voting_seats",
    "task_conflict",
    "approval_voters",
    "votes_in_favour",
}
"""The functions that may stay in SQL: sets in FROM, and an expression without a subquery."""

JUDGED = f"""
SELECT event_type FROM public.audit_events
WHERE subject_type = 'task' AND subject_id = '{NOBODY}' AND seq = 2
    AND (xid = pg_current_xact_id()) IS TRUE
    AND from_state IS NOT DISTINCT FROM 'approved' AND to_state IS NOT DISTINCT FROM 'claimed'
"""


@pytest.fixture
def much(superuser):
    """Five million rows in every table, as far as the planner knows."""
    # Batches insist on transactions of their own; here everything is in one that is rolled back.
    block: Any = transaction.atomic()
    block._from_testcase = True
    with block:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            # Empty they are; what earlier tests left of their files would weigh in a plan, and so
            # would the number of the first event, since the transactions below go by it.
            tables = [t for t in connection.introspection.table_names() if t not in KEPT_TABLES]
            cursor.execute(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY")
            cursor.execute(lists_rows.UNCHECKED)
            for table, change in cursor.fetchall():
                cursor.execute(f"ALTER TABLE {table} {change}")
            for statement in lists_rows.generate_statements(ROWS, parts=1):
                cursor.execute(statement)
            # Written by ten transactions that ended long ago, not by this one.
            cursor.execute("UPDATE audit_events SET xid = (3 + position / 500 % 10)::text::xid8")
            cursor.execute(f"ANALYZE {', '.join(tables)}")
            cursor.execute(
                "UPDATE pg_class SET reltuples = greatest(reltuples, 100) * %s "
                "WHERE oid = ANY(%s::regclass[])",
                [TIMES, sorted(BIG | {"agents"})],
            )
        yield
        transaction.set_rollback(True)


def client_of(who: str) -> Client:
    if who not in ("root", "alice"):
        return Client(headers={"Authorization": f"Bearer ork_{who}"})
    client = Client()
    client.force_login(User.objects.get(username=who))
    return client


def hot() -> dict[str, tuple[Callable[[], Any], set[str]]]:
    """Each hot query: what sends it, and the indexes that it must enter."""
    root = client_of("root")
    found: dict[str, tuple[Callable[[], Any], set[str]]] = {}

    def add_request(who: str, path: str, *indexes: str) -> None:
        client = root if who == "root" else client_of(who)
        found[f"GET {path}, {who}"] = lambda: client.get(path), set(indexes)

    for path, filters in FILTERS.items():
        add_request("root", path, *(("audit_events_tail",) if "audit" in path else ()))
        for query, index in filters.items():
            add_request("root", f"{path}?{query}", index)
    for who in ("many", "payer", "few", "alice"):
        for path in FILTERS:
            add_request(who, path)
    middle = (datetime.now(UTC) - timedelta(hours=5)).isoformat()
    found["GET /audit/events?from= its middle, root"] = (
        lambda: root.get("/audit/events", {"from": middle}),
        {"audit_events_tail", "audit_events_timestamp"},
    )
    add_request("few", f"/sessions/{NOBODY}", "agent_keys_hash", "sessions_pkey")
    task = str(Approval.objects.filter(status="pending").values_list("task_id", flat=True)[0])
    many = client_of("many")
    found["GET /tasks/{id}, many"] = (
        lambda: many.get(f"/tasks/{task}"),
        {"tasks_pkey", "approvals_task_id"},
    )
    add_request("payer", "/tasks?to_role=finance&status=approved", "tasks_inbox")

    alice = Actor.human(User.objects.get(username="alice"))
    pending = Approval.objects.pending().filter(approver_role="finance").order_by("expires_at")
    found["the inbox of a person"] = (
        lambda: list(Approval.objects.waiting_for(alice)[:20]),
        {"approvals_deadlines"},
    )
    found["the list of the inbox"] = (
        lambda: inbox.list_waiting(alice, inbox.Filters(), 0, 21),
        {"approvals_urgency"},
    )
    session = AgentSession.objects.filter(tasks__isnull=False).values_list("pk", flat=True)[0]
    found["the session of a timeline, alice"] = (
        lambda: AgentSession.objects.get_visible(alice, session),
        {"sessions_pkey", "tasks_session_id", "approvals_task_id"},
    )
    found["what is pending for a role"] = lambda: list(pending[:20]), {"approvals_inbox"}
    found["sessions that are overdue"] = (
        lambda: next(expire_sessions(by=SYSTEM, older_than=timedelta(days=7), batch_size=9), 0),
        {"sessions_open_by_age"},
    )
    found["leases that ran out"] = (
        lambda: next(release_leases(by=SYSTEM, batch_size=9), 0),
        {"tasks_leases"},
    )
    found["approvals that nobody used"] = (
        lambda: next(expire_approved(by=SYSTEM, batch_size=9), 0),
        {"tasks_approved_until"},
    )
    found["approvals that are overdue"] = (
        lambda: next(expire_approvals(by=SYSTEM, batch_size=9), 0),
        {"approvals_deadlines"},
    )
    found["the tail"] = lambda: event_log.read(event_log.find_end()), {"audit_events_tail"}
    return found


def explain_hot_queries() -> dict[str, list[Any]]:
    assert (
        not event_log.epochs.end_positions
    )  # asked once a process: not to be among what a request asks
    plans = {}
    for name, (action, _) in hot().items():
        plans[name] = plans_of(action)
    values = {"ttl": "1", "status": "200", "headers": "'{}'", "subject_id": "NULL"}
    keep = re.sub(r"%\((\w+)\)s", lambda name: values.get(name[1], "'x'"), idempotency.KEEP)
    plans["a receipt is kept"] = [plan_of(keep)]
    plans["the judge's look-up"] = [plan_of(JUDGED)]
    return plans


def test_functions_are_planned_once_a_connection():
    """In SQL they are planned by each statement that calls them, unless they can be inlined, as the
    words of an index and a set in FROM are."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname FROM pg_proc JOIN pg_language AS language ON language.oid = prolang "
            "WHERE lanname = 'sql' AND pronamespace = 'public'::regnamespace"
        )
        assert {name for (name,) in cursor.fetchall()} == IN_SQL


def test_nothing_hot_reads_a_big_table_whole(much):
    wanted = {name: indexes for name, (_, indexes) in hot().items()}
    wanted["a receipt is kept"] = {"request_receipts_once"}
    wanted["the judge's look-up"] = {"audit_events_subject"}
    plans = explain_hot_queries()
    version = f"PostgreSQL {connection.pg_version // 10_000}"
    said = "\n\n".join(
        "\n".join([name, *map(describe_plan, found)]) for name, found in plans.items()
    )
    said = f"{version}\n\n{said}\n"
    if os.environ.get("UPDATE_PLANS"):
        KEPT.write_text(said, encoding="utf-8")

    wrong = [line for name, found in plans.items() for line in _wrong(name, found, wanted[name])]
    assert not wrong, "\n".join(wrong)
    kept = KEPT.read_text(encoding="utf-8")
    if kept.partition("\n")[0] != version:
        return  # another version has other nodes; what must hold in all of them is asserted above
    changed = difflib.unified_diff(
        kept.splitlines(), said.splitlines(), "plans.txt", "now", n=1, lineterm=""
    )
    assert kept == said, "Plans changed; if they may, UPDATE_PLANS=1:\n" + "\n".join(changed)


def _wrong(name: str, plans: list[Any], wanted: set[str]) -> list[str]:
    """What must not be, in words."""
    said = []
    if whole := set().union(*map(read_whole, plans)):
        said.append(f"{name} reads {', '.join(whole)} from one end to the other.")
    entered = {index for plan in plans for node in nodes(plan) for index in indexes_of(node)}
    # By its beginning: of two indexes that begin alike, either will do.
    if missing := {name for name in wanted if not any(each.startswith(name) for each in entered)}:
        said.append(f"{name} does not enter {', '.join(missing)}.")
    return [*said, *(f"    {describe_plan(plan)}" for plan in plans)] if said else []
