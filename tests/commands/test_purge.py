"""What is over for long is removed; what happened stays known."""

import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from django.db import connection

from approvals_app.decisions import operations as approvals
from approvals_app.models import Approval, Vote
from audit_app.base.actors import Actor
from audit_app.models import Event, RequestReceipt
from sessions_app import operations
from sessions_app.models import AgentSession, Task
from tests.commands.conftest import run_for_output
from tests.factories import SessionFactory, TaskFactory, the_approval

NOTHING = {"tasks": 0, "approvals": 0, "sessions": 0, "receipts": 0}
DONE = {"dry_run": False, "stopped": False}


@pytest.fixture
def over(bot, alice, backdate):
    """``over()``: a task that alice rejected in a session that has failed, 91 days ago."""

    def make():
        session = SessionFactory(agent=bot)
        task = TaskFactory(agent=bot, session_id=session.pk)
        approval = the_approval(task)
        approvals.reject(approval.pk, by=Actor.human(alice), payload_digest=task.payload_digest)
        for status in ("active", "failed"):
            operations.update_session(session.pk, by=bot.as_actor(), status=status)
        backdate(session, task, approval, days=91)
        return session, task, approval

    return make


def test_a_finished_task_goes_with_its_approvals_and_its_session(over, run, bot):
    session, task, approval = over()
    TaskFactory(agent=bot)

    assert run("purge", "--dry-run") == NOTHING | {
        "tasks": 1,
        "approvals": 1,
        "sessions": 1,
        "dry_run": True,
    }
    before = Event.objects.count()
    assert run("purge") == NOTHING | {"tasks": 1, "approvals": 1, "sessions": 1} | DONE

    assert (Task.objects.count(), Approval.objects.count(), AgentSession.objects.count()) == (
        1,
        1,
        0,
    )
    assert Event.objects.count() == before + 4
    assert not Vote.objects.exists()
    for row, state in ((session, "failed"), (task, "rejected"), (approval, "rejected")):
        last = Event.objects.filter(subject_id=row.pk).last()
        assert last.event_type == f"{row.subject_type}.purged"
        assert (last.from_state, last.to_state, last.actor) == (state, None, "system:purge")
    assert run("verify_audit")["whole"]
    assert run_for_output("purge") == "Removed 0 tasks, 0 approvals, 0 sessions and 0 receipts.\n"


def test_what_is_not_finished_or_not_old_stays(over, run, bot, backdate):
    over()
    waiting = TaskFactory(agent=bot)
    opened = SessionFactory(agent=bot)
    backdate(waiting, opened, days=91)

    assert run("purge", "--older-than", "92d") == NOTHING | DONE
    run("purge")

    assert Task.objects.get() == waiting
    assert AgentSession.objects.get() == opened


def test_a_finished_session_stays_as_long_as_a_task_refers_to_it(over, run, bot, backdate):
    session = SessionFactory(agent=bot)
    waiting = TaskFactory(agent=bot, session_id=session.pk)
    for status in ("active", "completed"):
        operations.update_session(session.pk, by=bot.as_actor(), status=status)
    backdate(session, waiting, days=91)

    assert run("purge", "--dry-run") == NOTHING | {"dry_run": True}
    assert run("purge") == NOTHING | DONE
    assert AgentSession.objects.get() == session


@pytest.mark.parametrize("table", ["tasks", "approvals", "sessions"])
def test_a_row_that_somebody_holds_is_left_whole_for_the_next_run(over, run, elsewhere, table):
    session, task, approval = over()
    held = {"tasks": task, "approvals": approval, "sessions": session}[table]
    elsewhere.execute(f"SELECT FROM {table} WHERE id = %s FOR KEY SHARE", [held.pk])

    run("purge")

    assert Task.objects.count() == Approval.objects.count() == (0 if table == "sessions" else 1)
    assert AgentSession.objects.count() == 1
    elsewhere.rollback()
    run("purge")
    assert (Task.objects.count(), AgentSession.objects.count()) == (0, 0)
    assert run("verify_audit")["whole"]


def test_two_runs_at_once_remove_each_row_once(over, run):
    for _ in range(12):
        over()
    ready = threading.Barrier(2)

    def sweep():
        try:
            connection.ensure_connection()
            ready.wait(10)
            return run("purge", "--batch-size", "2")
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as hosts:
        done = [future.result() for future in [hosts.submit(sweep) for _ in range(2)]]
    done.append(run("purge"))

    for kind in ("tasks", "approvals", "sessions"):
        assert sum(one[kind] for one in done) == 12
    assert Event.objects.filter(event_type="session.purged").count() == 12
    assert run("verify_audit")["whole"]


def test_stored_responses_go_when_their_keys_are_no_longer_kept(api, bot, run, settings, tamper):
    for _ in range(2):
        answer = api(bot).post(
            "/sessions", {"agent_role": "support-agent"}, headers={"Idempotency-Key": str(uuid4())}
        )
        assert answer.status_code == 201
    kept = RequestReceipt.objects.last()
    tamper(
        "UPDATE request_receipts SET created_at = now() - make_interval(secs => %s) WHERE id <> %s",
        settings.IDEMPOTENCY_TTL_SECONDS + 1,
        kept.pk,
    )

    assert run("purge", "--dry-run")["receipts"] == 1
    assert run("purge")["receipts"] == 1
    assert RequestReceipt.objects.get() == kept


UNINDEXED = """
SELECT reference.conrelid::regclass || '.' || attribute.attname
FROM pg_constraint AS reference
JOIN pg_attribute AS attribute
    ON attribute.attrelid = reference.conrelid AND attribute.attnum = reference.conkey[1]
WHERE reference.contype = 'f' AND NOT EXISTS (
    SELECT FROM pg_index AS index
    WHERE index.indrelid = reference.conrelid AND index.indisvalid
    AND index.indkey[0] = reference.conkey[1]
    AND (index.indpred IS NULL OR pg_get_expr(index.indpred, index.indrelid)
        = format('(%I IS NOT NULL)', attribute.attname)))
ORDER BY 1
"""


NOT_INDEXED = {
    "approvals.requested_by_id": "agents are revoked and never removed",
    "tasks.claimed_by_id": "agents are revoked and never removed",
    "tasks.consumed_by_id": "agents are revoked and never removed",
    "comments.author_id": "people are removed one by one, and hardly ever",
    "tasks.edited_by_id": "people are removed one by one, and hardly ever",
    "procrastinate_jobs.worker_id": "procrastinate's own, and finished jobs do not stay",
}
"""Columns that reference another table without an index, and why that costs nothing."""


def test_every_column_that_references_a_row_is_indexed_or_says_why_not():
    """Else each removal of such a row reads a whole table, to see that nothing refers to it."""
    with connection.cursor() as cursor:
        cursor.execute(UNINDEXED)
        found = {column for (column,) in cursor.fetchall()}
    assert found == NOT_INDEXED.keys()
