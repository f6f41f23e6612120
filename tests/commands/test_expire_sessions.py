"""Sessions that nobody moves on are expired, whoever else does so at the same time."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from audit_app.models import Event
from sessions_app import operations
from sessions_app.models import AgentSession
from tests.commands.conftest import run_for_output, wait_until_something_waits_for
from tests.factories import SessionFactory


@pytest.fixture
def overdue(bot, backdate):
    """``overdue(5)``: that many sessions of bot's, untouched for eight days."""

    def make(count):
        sessions = SessionFactory.create_batch(count, agent=bot)
        backdate(*sessions, days=8)
        return sessions

    return make


def statuses(*sessions):
    return [AgentSession.objects.get(pk=session.pk).status for session in sessions]


def test_what_is_overdue_is_expired_with_its_event_and_what_is_fresh_is_left(
    bot, overdue, backdate, run
):
    pending, active, done = overdue(3)
    operations.update_session(active.pk, by=bot.as_actor(), status="active")
    operations.update_session(done.pk, by=bot.as_actor(), status="active")
    operations.update_session(done.pk, by=bot.as_actor(), status="completed")
    backdate(active, done, days=8)
    fresh = SessionFactory(agent=bot)

    assert run("expire_sessions") == {"sessions": 2, "dry_run": False, "stopped": False}

    assert statuses(pending, active, done, fresh) == ["expired", "expired", "completed", "pending"]
    last = Event.objects.filter(subject_id=active.pk).last()
    assert (last.event_type, last.from_state, last.to_state, last.actor) == (
        "session.expired",
        "active",
        "expired",
        "system:expire_sessions",
    )
    assert run("expire_sessions")["sessions"] == 0
    assert run("verify_audit")["whole"]


def test_older_than_says_how_long_untouched(overdue, run):
    overdue(1)

    assert run("expire_sessions", "--older-than", "9d")["sessions"] == 0
    assert run("expire_sessions", "--older-than", "8d")["sessions"] == 1


def test_a_dry_run_counts_and_changes_nothing(overdue, run):
    sessions = overdue(2)

    assert run("expire_sessions", "--dry-run") == {"sessions": 2, "dry_run": True}
    assert (
        run_for_output("expire_sessions", "--dry-run")
        == "Would expire 2 sessions; changed nothing.\n"
    )
    assert statuses(*sessions) == ["pending", "pending"]


def test_a_row_and_its_event_are_written_by_one_transaction_a_batch(overdue, run):
    overdue(5)

    run("expire_sessions", "--batch-size", "2")

    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT xid::text, count(*) FROM audit_events AS event JOIN sessions ON
                sessions.id = subject_id AND sessions.xmin::text::bigint
                    = mod(xid::text::bigint, 4294967296)
            WHERE event_type = 'session.expired' GROUP BY xid ORDER BY 2
            """
        )
        assert [count for _, count in cursor.fetchall()] == [1, 2, 2]


def test_a_session_that_somebody_holds_is_passed_over_and_taken_next_time(overdue, run, elsewhere):
    held, free = overdue(2)
    elsewhere.execute("SELECT FROM sessions WHERE id = %s FOR UPDATE", [held.pk])

    assert run("expire_sessions")["sessions"] == 1
    assert statuses(held, free) == ["pending", "expired"]

    elsewhere.rollback()
    assert run("expire_sessions")["sessions"] == 1
    assert statuses(held) == ["expired"]


def test_two_runs_at_once_expire_each_session_once(overdue, run):
    sessions = overdue(60)
    ready = threading.Barrier(2)

    def sweep():
        try:
            connection.ensure_connection()
            ready.wait(10)
            return run("expire_sessions", "--batch-size", "3")["sessions"]
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as hosts:
        runs = [hosts.submit(sweep) for _ in range(2)]
        first, second = (sweep_.result() for sweep_ in runs)

    # Each passes over what the other holds, and may end while the other's last batch is held.
    assert first + second == 60
    assert Event.objects.filter(event_type="session.expired").count() == 60
    assert set(statuses(*sessions)) == {"expired"}
    assert run("verify_audit")["whole"]


def test_sigterm_finishes_the_batch_in_hand_and_says_what_was_done(overdue, run, manage, elsewhere):
    overdue(3)
    elsewhere.execute("LOCK TABLE audit_events IN SHARE ROW EXCLUSIVE MODE")

    sweep = manage("expire_sessions", "--batch-size", "1", "--format", "json")
    wait_until_something_waits_for(elsewhere)
    sweep.send_signal(signal.SIGTERM)
    elsewhere.rollback()
    out, err = sweep.communicate(timeout=30)

    assert (sweep.returncode, err) == (0, "")
    assert out == '{"sessions": 1, "dry_run": false, "stopped": true}\n'
    assert AgentSession.objects.filter(status="expired").count() == 1
    assert run("verify_audit")["whole"]


def test_a_batch_that_can_not_have_its_locks_is_one_sentence(overdue, manage, elsewhere):
    overdue(1)
    elsewhere.execute("LOCK TABLE audit_events IN SHARE ROW EXCLUSIVE MODE")

    sweep = manage("expire_sessions")
    out, err = sweep.communicate(timeout=30)

    assert (sweep.returncode, out) == (1, "")
    assert err == (
        "CommandError: Somebody else holds what is needed for too long; run it again later. "
        "Expired 0 sessions before.\n"
    )
