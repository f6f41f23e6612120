"""A relay tells every event once, and writes what it writes together with its place."""

import os
import subprocess
import sys
import threading

import pytest
from django.db import connection

from audit_app.live import event_log
from audit_app.live.consumers import Consumer
from audit_app.models import ConsumerOffset
from audit_app.trail.notes import add_event
from tests.database import database_url
from tests.trail import advance_once, wait_until_stable, write_event, writer


def note(bot, number):
    add_event("agent.noted", by=bot.as_actor(), metadata={"n": number}, trace_id=None)


def relay_that(told, *, fails=False):
    def tell(events):
        told.extend(event.metadata.get("n") for event in events)
        if fails:
            raise RuntimeError("this relay fails")

    return Consumer("a relay of the tests", tell)


def test_it_starts_at_the_end_and_delivers_each_event_once(bot):
    told = []
    relay = relay_that(told)
    note(bot, 1)
    assert advance_once(relay) == 0
    note(bot, 2)
    note(bot, 3)

    assert advance_once(relay) == 2
    assert relay.advance() == 0
    assert told == [2, 3]


def test_what_fails_is_delivered_again(bot):
    told = []
    advance_once(relay_that(told))
    note(bot, 1)
    with pytest.raises(RuntimeError, match="fails"):
        advance_once(relay_that(told, fails=True))
    assert advance_once(relay_that(told)) == 1
    assert told == [1, 1]


def test_two_processes_do_not_deliver_the_same(bot):
    told, inside, go_on = [], threading.Event(), threading.Event()

    def slowly(events):
        inside.set()
        assert go_on.wait(30)
        told.extend(event.metadata["n"] for event in events)

    advance_once(relay_that(told))
    note(bot, 1)
    wait_until_stable()

    def advance():
        try:
            while not Consumer("a relay of the tests", slowly).advance():
                pass  # an older transaction, of PostgreSQL's upkeep, is open
        finally:
            connection.close()

    other = threading.Thread(target=advance)
    other.start()
    assert inside.wait(30)
    assert relay_that(told).advance() == 0, "the other one is at it"
    go_on.set()
    other.join()
    assert told == [1]


def test_what_waits_for_an_older_transaction_is_known(bot):
    relay = relay_that([])
    advance_once(relay)
    with writer() as slow:
        write_event(slow)
        note(bot, 1)
        assert relay.advance() == 0
        assert relay.waits_for_older_transactions()
    assert advance_once(relay) == 2
    wait_until_stable()  # for PostgreSQL's own upkeep
    assert not relay.waits_for_older_transactions()
    assert ConsumerOffset.objects.get().cursor == str(event_log.find_end())


def test_the_worker_stops_when_asked():
    worker = subprocess.Popen(
        [sys.executable, "manage.py", "worker"],
        env=os.environ | {"DATABASE_URL": database_url()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    first = worker.stdout.readline()
    worker.terminate()
    rest = worker.communicate(timeout=30)[0]

    assert first == "The worker runs; Ctrl-C stops it.\n"
    assert (worker.returncode, rest) == (0, "The worker has stopped.\n")
