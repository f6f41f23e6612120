"""The trail is read in the order of its commits: nobody who commits late is skipped."""

import threading

import psycopg
import pytest
from django.db import connection

from audit_app.base.errors import CursorExpired
from audit_app.live import event_log
from audit_app.live.event_log import START, Cursor
from audit_app.models import Epoch, Event
from audit_app.trail.notes import add_event
from tests.awaiting import until
from tests.database import database_url, without_guards
from tests.trail import wait_until_stable, write_event, writer


def positions(events):
    return [event.position for event in events]


def test_who_commits_late_is_not_skipped_as_it_would_be_by_position():
    begin = event_log.find_end()
    with writer() as slow, writer() as quick:
        first = write_event(slow)
        second = write_event(quick)
        quick.commit()

        assert Event.objects.filter(position__gt=begin.position).get().position == second
        assert event_log.read(begin) == [], "what may still be written before is waited for"
        assert event_log.has_unstable_events(begin)

        slow.commit()

    wait_until_stable()
    assert positions(event_log.read(begin)) == [first, second]
    # A reader who counts insertions had gone on behind the second by now.
    assert not Event.objects.filter(position__gt=second).exists()


def test_up_to_an_end_that_was_asked_for_nothing_is_waited_for_again():
    begin = event_log.find_end()
    with writer() as slow, writer() as quick:
        slow.execute("SELECT pg_current_xact_id()")
        first, second = write_event(quick), write_event(quick)
        quick.commit()

        end = event_log.cursor_of(Event.objects.get(position=first))
        assert event_log.read(begin) == []
        assert positions(event_log.read(begin, until=end)) == [first]
        assert positions(event_log.read(end)) == []
    wait_until_stable()
    assert positions(event_log.read(end)) == [second]


def test_the_order_is_that_of_transactions_not_of_insertions():
    begin = event_log.find_end()
    with writer() as older, writer() as younger:
        older.execute("SELECT pg_current_xact_id()")
        first_inserted = write_event(younger)
        second_inserted = write_event(older)
        younger.commit()
        older.commit()

    wait_until_stable()
    assert positions(event_log.read(begin)) == [second_inserted, first_inserted]


def test_nobody_waits_for_the_transactions_of_other_databases():
    begin = event_log.find_end()
    with (
        psycopg.connect(database_url(superuser=True, name="postgres")) as elsewhere,
        writer() as own,
    ):
        elsewhere.execute("SELECT pg_current_xact_id()")
        first = write_event(own)
        own.commit()
        wait_until_stable()
        assert positions(event_log.read(begin)) == [first]

        own.execute("SELECT pg_current_xact_id()")
        with writer() as another:
            write_event(another)
        assert positions(event_log.read(begin)) == [first], "those of this one are waited for"


def test_many_writers_long_and_short_and_every_reader_gets_all_of_it_once():
    writers, each = 6, 15
    done = threading.Event()
    begin = event_log.find_end()

    def write(number):
        with writer() as own:
            for turn in range(each):
                for _ in range(1 + turn % 3):
                    write_event(own)
                if turn % 5 == number % 5:
                    own.execute("SELECT pg_sleep(0.02)")  # a transaction that takes its time
                own.rollback() if turn % 7 == 6 else own.commit()

    def follow(seen, batch):
        cursor = begin
        try:
            while True:
                last = done.is_set()
                events = event_log.read(cursor, batch)
                seen += positions(events)
                cursor = event_log.cursor_of(events[-1]) if events else cursor
                if last and not events:
                    return
        finally:
            connection.close()

    readers = [([], 7), ([], 100)]
    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    following = [threading.Thread(target=follow, args=reader) for reader in readers]
    for thread in threads + following:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until_stable()
    done.set()
    for thread in following:
        thread.join()

    committed = sorted(Event.objects.values_list("position", flat=True))
    assert len(committed) > writers * each
    for seen, _ in readers:
        assert sorted(seen) == committed
    assert readers[0][0] == readers[1][0], "every reader reads the same order"


def test_a_cursor_goes_on_where_it_stopped(bot):
    begin = event_log.find_end()
    for number in range(5):
        add_event("agent.noted", by=bot.as_actor(), metadata={"number": number}, trace_id=None)
    wait_until_stable()
    first = event_log.read(begin, 2)
    rest = event_log.read(Cursor.parse(str(event_log.cursor_of(first[-1]))))

    assert [event.metadata["number"] for event in first + rest] == [0, 1, 2, 3, 4]
    # Upkeep of PostgreSQL may begin meanwhile, and for as long the end lies further back.
    until(lambda: event_log.find_end() == event_log.cursor_of(rest[-1]))
    assert event_log.read(event_log.cursor_of(rest[-1])) == []


def test_after_a_restore_into_a_younger_cluster_old_and_new_are_read_in_order(bot):
    add_event("agent.noted", by=bot.as_actor(), metadata={"n": 1}, trace_id=None)
    add_event("agent.noted", by=bot.as_actor(), metadata={"n": 2}, trace_id=None)
    with without_guards() as cursor:
        cursor.execute(
            "UPDATE audit_events SET xid = (xid::text::bigint + 1000000000)::text::xid8"
            " WHERE event_type = 'agent.noted'"
        )
    known = event_log.cursor_of(Event.objects.get(metadata__n=1))
    event_log.epochs.forget()
    assert not event_log.has_unstable_events(event_log.find_end()), (
        "what was restored waits for nobody"
    )

    add_event("agent.noted", by=bot.as_actor(), metadata={"n": 3}, trace_id=None)
    wait_until_stable()
    assert [e.metadata["n"] for e in event_log.read(known)] == [2, 3]
    assert event_log.cursor_of(Event.objects.get(metadata__n=3)).epoch == 1
    assert event_log.find_end() == event_log.cursor_of(Event.objects.get(metadata__n=3))
    assert event_log.cursor_of(Event.objects.get(metadata__n=2)) < event_log.find_end()
    assert [e.metadata["n"] for e in event_log.read(START) if "n" in e.metadata] == [1, 2, 3]

    event_log.epochs.forget()
    assert event_log.epochs.current == 1, "an era begins once"
    assert Epoch.objects.count() == 1


def test_a_cursor_whose_events_are_gone_is_refused(bot):
    add_event("agent.noted", by=bot.as_actor(), metadata={}, trace_id=None)
    wait_until_stable()
    old = event_log.find_end()
    add_event("agent.noted", by=bot.as_actor(), metadata={}, trace_id=None)
    wait_until_stable()
    with without_guards() as cursor:
        cursor.execute("DELETE FROM audit_events WHERE position <= %s", [old.position])

    with pytest.raises(CursorExpired):
        event_log.read(old)
    assert len(event_log.read(START)) == 1, "from the beginning is from what is kept"


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.2", "1.2.3.4", "-1.2.3", "1.2.x", "1.2.9999999999999999999", "١.2.3"],
)
def test_what_is_no_cursor_is_refused(text):
    with pytest.raises(ValueError, match="not a cursor"):
        Cursor.parse(text)


def test_a_cursor_is_read_as_it_was_written():
    assert Cursor.parse("0.0.0") == START
    assert str(Cursor.parse("1.22.333")) == "1.22.333"
