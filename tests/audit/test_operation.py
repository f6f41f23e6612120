"""One operation is one durable transaction."""

import threading

import pytest
from django.db import OperationalError, connection, transaction
from psycopg.errors import DeadlockDetected

from audit_app.base.errors import Busy, Conflict, LostRace, NotFound
from audit_app.models import Event
from audit_app.trail import recording
from audit_app.trail.operation import operation
from sessions_app import operations
from sessions_app.models import AgentSession
from tests.factories import OPS, SessionFactory
from tests.races.together import together


@operation("tests.touch")
def touch(session_id, *, by, then=None):
    """Note something on a session, then do ``then``."""
    session = AgentSession.objects.lock(session_id)
    recording.perform(session.update, by=by, metadata={"touched": True})
    if then:
        then()
    return session


def is_untouched(session):
    row = AgentSession.objects.get(pk=session.pk)
    events = Event.objects.filter(subject_id=session.pk)
    return row.metadata == {} and row.version == events.count() == 1


@pytest.fixture
def session(bot):
    return SessionFactory(agent=bot)


def test_an_operation_is_never_a_part_of_another_transaction(session):
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        touch(session.pk, by=OPS)
    assert is_untouched(session)


def test_an_operation_is_never_a_part_of_another_operation(session):
    with pytest.raises(RuntimeError, match="durable"):
        touch(session.pk, by=OPS, then=lambda: touch(session.pk, by=OPS))
    assert is_untouched(session)


def test_what_fails_leaves_neither_row_nor_event(session):
    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        touch(session.pk, by=OPS, then=fail)
    assert is_untouched(session)
    assert not Event.objects.filter(event_type="operation.refused").exists()


def test_what_is_refused_is_rolled_back_and_the_refusal_recorded(session):
    def refuse():
        raise Conflict(session)

    with pytest.raises(Conflict):
        touch(session.pk, by=OPS, then=refuse)

    assert is_untouched(session)
    told = Event.objects.get(event_type="operation.refused")
    assert told.metadata == {
        "operation": "tests.touch",
        "code": "conflict",
        "detail": "This is not possible in the present state.",
        "subject_type": "session",
        "subject_id": str(session.pk),
    }


def test_a_refusal_is_recorded_in_a_transaction_of_its_own(session):
    seen = []

    def refuse():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_current_xact_id()::text")
            seen.append(cursor.fetchone()[0])
        raise Conflict(session)

    with pytest.raises(Conflict):
        touch(session.pk, by=OPS, then=refuse)
    with connection.cursor() as cursor:
        cursor.execute("SELECT xid::text FROM audit_events WHERE subject_type = 'refusal'")
        assert cursor.fetchall() != [(seen[0],)]


def test_a_refusal_of_nothing_in_particular_is_not_recorded(bot):
    with pytest.raises(NotFound):
        touch(bot.pk, by=OPS)
    assert not Event.objects.filter(event_type="operation.refused").exists()


def test_a_deadlocks_victim_is_tried_again_and_both_get_through(bot):
    first, second = SessionFactory(agent=bot), SessionFactory(agent=bot)
    meet = threading.Barrier(2)
    tries = []

    @operation("tests.touch_both")
    def touch_both(one, other, *, by):
        tries.append(one)
        recording.perform(AgentSession.objects.lock(one).update, by=by, metadata={"by": str(one)})
        if len(tries) <= 2:
            meet.wait(timeout=30)
        recording.perform(AgentSession.objects.lock(other).update, by=by, metadata={"by": str(one)})

    outcomes = together(
        [
            lambda: touch_both(first.pk, second.pk, by=OPS),
            lambda: touch_both(second.pk, first.pk, by=OPS),
        ]
    )

    assert outcomes == [None, None]
    assert len(tries) == 3
    assert {s.version for s in AgentSession.objects.all()} == {3}
    assert Event.objects.filter(event_type="session.updated").count() == 4


def test_a_victim_that_is_never_spared_gives_up_in_the_end(session):
    tries = []

    def lose():
        tries.append(1)
        raise OperationalError from DeadlockDetected()

    with pytest.raises(OperationalError):
        touch(session.pk, by=OPS, then=lose)
    assert len(tries) == 4
    assert is_untouched(session)


def test_who_lost_the_race_tries_again(session):
    tries = []

    def lose_once():
        tries.append(1)
        if len(tries) == 1:
            raise LostRace

    touch(session.pk, by=OPS, then=lose_once)
    assert len(tries) == 2
    assert Event.objects.filter(subject_id=session.pk).count() == 2


def test_who_always_loses_the_race_is_told_to_come_again(session):
    tries = []

    def lose():
        tries.append(1)
        raise LostRace

    with pytest.raises(Busy):
        touch(session.pk, by=OPS, then=lose)
    assert len(tries) == 4
    assert is_untouched(session)


def test_who_waits_too_long_for_a_lock_is_told_to_come_again(bot, session):
    holds, done = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic():
            AgentSession.objects.lock(session.pk)
            holds.set()
            done.wait(timeout=30)

    def come_second():
        assert holds.wait(timeout=30)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '50ms'")
            operations.update_session(session.pk, by=bot.as_actor(), status="active")
        finally:
            done.set()

    held, refused = together([hold, come_second])
    assert held is None
    assert isinstance(refused, Busy)
    assert is_untouched(session)
    assert not Event.objects.filter(event_type="operation.refused").exists()
