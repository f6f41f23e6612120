"""Which deliveries a worker sends next: in order, behind no slow receiver and behind no replay."""

import threading
from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from django.utils import timezone

from audit_app.live import event_log
from audit_app.models import Delivery
from audit_app.trail.notes import add_event
from audit_app.webhooks import dispatcher, operations
from audit_app.webhooks.dispatcher import MAX_IN_FLIGHT
from sessions_app.tasks.operations import cancel
from tests.database import database_url
from tests.factories import OPS, TaskFactory
from tests.webhooks.conftest import claim, read_deliveries, try_delivery


def note(agent):
    add_event("agent.noted", by=agent.as_actor(), metadata={}, trace_id=uuid4())


def wants_tasks(webhook):
    types = ["task.*", "approval.*"]
    operations.change_webhook(webhook.pk, by=OPS, url=webhook.url, event_types=types, roles=[])


@pytest.fixture
def other(receiver):
    hook, _ = operations.create_webhook(
        "other", by=OPS, url=receiver.url, event_types=["agent.*"], roles=[]
    )
    return hook


def test_a_webhook_holds_no_more_than_its_share(webhook, other, bot):
    for _ in range(MAX_IN_FLIGHT + 3):
        note(bot)
    read_deliveries()
    first = {pk: Delivery.objects.get(pk=pk).webhook_id for pk in claim()}
    assert list(first.values()).count(webhook.pk) == MAX_IN_FLIGHT
    assert list(first.values()).count(other.pk) == MAX_IN_FLIGHT
    assert claim() == []
    done = next(pk for pk, owner in first.items() if owner == other.pk)
    try_delivery(Delivery.objects.get(pk=done))
    [following] = claim()
    assert Delivery.objects.get(pk=following).webhook_id == other.pk


def test_whoever_has_least_in_flight_is_next(webhook, other, bot):
    note(bot)
    note(bot)
    read_deliveries()
    [first] = claim(1)
    [second] = claim(1)
    owners = {Delivery.objects.get(pk=pk).webhook_id for pk in (first, second)}
    assert owners == {webhook.pk, other.pk}


def test_the_events_of_a_subject_go_one_after_the_other(webhook, receiver, bot):
    wants_tasks(webhook)
    task = TaskFactory(agent=bot)
    TaskFactory(agent=bot)
    cancel(task.pk, by=bot.as_actor())
    rows = read_deliveries()
    of_one = [row for row in rows if row.subject_id == task.pk]
    assert len(of_one) == 2
    claimed = claim()
    assert of_one[0].pk in claimed
    assert of_one[1].pk not in claimed

    receiver.answers = [500]
    assert try_delivery(of_one[0])
    assert of_one[1].pk not in claim(), "it waits for the earlier one, which failed"
    try_delivery(of_one[0])
    assert of_one[1].pk not in claim(), "not before the failed one was due"
    Delivery.objects.update(next_attempt_at=timezone.now())
    assert claim() == [of_one[1].pk]


def test_what_waits_behind_a_failure_is_due_with_it(webhook, receiver, bot):
    """So that a receiver that is down for hours does not make every claim look at its backlog."""
    wants_tasks(webhook)
    task = TaskFactory(agent=bot)
    [approval] = [row for row in read_deliveries() if row.event_type == "approval.requested"]
    [routed] = [row for row in read_deliveries() if row.event_type == "task.routed"]
    receiver.answers = [500]
    at = try_delivery(routed)
    cancel(task.pk, by=bot.as_actor())
    due = {row.event_type: row.next_attempt_at for row in read_deliveries()}
    assert due["task.cancelled"] == at
    approval.refresh_from_db()
    assert approval.next_attempt_at is None
    receiver.answers = [500]
    at = try_delivery(routed)
    due = {row.event_type: row.next_attempt_at for row in read_deliveries()}
    assert due["task.routed"] == due["task.cancelled"] == at
    operations.send_again(routed.pk, by=OPS)
    due = {row.event_type: row.next_attempt_at for row in read_deliveries()}
    assert due["task.routed"] is due["task.cancelled"] is None


def test_a_lease_that_ended_is_anybodys(webhook, bot):
    note(bot)
    [row] = read_deliveries()
    assert claim() == [row.pk]
    assert claim() == []
    Delivery.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    assert claim() == [row.pk]


def test_two_workers_take_no_delivery_twice(webhook, bot):
    note(bot)
    [row] = read_deliveries()
    with psycopg.connect(database_url()) as elsewhere:
        elsewhere.execute("SELECT FROM webhook_deliveries FOR UPDATE")
        assert claim() == []
        elsewhere.rollback()
    assert claim() == [row.pk]


def replay_everything(webhook):
    return operations.replay(webhook.pk, by=OPS, after=event_log.START)


def test_a_replay_runs_behind_live_events(webhook, bot):
    for _ in range(MAX_IN_FLIGHT + 1):
        note(bot)
    for row in read_deliveries():
        try_delivery(row)
    assert replay_everything(webhook) == MAX_IN_FLIGHT + 1
    note(bot)
    live = read_deliveries()[-1]
    assert claim(1) == [live.pk]
    [replayed] = claim()
    assert Delivery.objects.get(pk=replayed).replayed, "one at a time"
    assert claim() == []


def test_what_waits_anyway_is_not_put_behind_by_a_replay(webhook, bot):
    note(bot)
    [row] = read_deliveries()
    replay_everything(webhook)
    row.refresh_from_db()
    assert not row.replayed


def test_a_live_event_takes_the_replayed_ones_of_its_subject_along(webhook, bot):
    wants_tasks(webhook)
    task = TaskFactory(agent=bot)
    TaskFactory(agent=bot)
    for row in read_deliveries():
        try_delivery(row)
    replay_everything(webhook)
    assert set(Delivery.objects.values_list("replayed", flat=True)) == {True}
    cancel(task.pk, by=bot.as_actor())
    read_deliveries()
    assert not Delivery.objects.filter(subject_id=task.pk, replayed=True).exists()
    assert Delivery.objects.filter(replayed=True).exists()


def test_events_planned_by_a_replay_keep_the_order_of_the_trail(webhook, bot):
    """The later event was planned first: the rows' ids are the other way round."""
    wants_tasks(webhook)
    task = TaskFactory(agent=bot)
    cancel(task.pk, by=bot.as_actor())
    read_deliveries()
    Delivery.objects.filter(event_type="task.routed").delete()
    replay_everything(webhook)
    routed = Delivery.objects.get(event_type="task.routed")
    cancelled = Delivery.objects.get(event_type="task.cancelled")
    assert routed.pk > cancelled.pk
    claimed = claim()
    assert routed.pk in claimed
    assert cancelled.pk not in claimed


@contextmanager
def running():
    """A dispatcher at work, woken once."""
    sender, stopping = dispatcher.Dispatcher(), threading.Event()
    thread = threading.Thread(target=sender.run, args=(stopping,))
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        sender.wake()
        thread.join()


def test_a_receiver_that_does_not_answer_delays_no_other(webhook, other, receiver, bot):
    """The slow one answers only once everything for the other one has arrived."""
    arrived, number = threading.Event(), 3 * MAX_IN_FLIGHT
    receiver.hold = lambda path: path == "/slow" and arrived.wait(30)
    url = receiver.url.replace("/told", "/slow")
    operations.change_webhook(webhook.pk, by=OPS, url=url, event_types=["agent.*"], roles=[])
    for _ in range(number):
        note(bot)
    read_deliveries()
    with running():
        while other.deliveries.filter(status="delivered").count() < number:
            pass
        assert not webhook.deliveries.filter(status="delivered").exists()
        arrived.set()
        while webhook.deliveries.filter(status="waiting").exists():
            pass
    assert Delivery.objects.filter(status="delivered").count() == 2 * number


def test_the_dispatcher_outlives_a_delivery_that_breaks(webhook, receiver, bot, monkeypatch):
    note(bot)
    read_deliveries()
    monkeypatch.setattr(dispatcher.sending, "build_body", lambda event: 1 / 0)
    with running():
        while not Delivery.objects.filter(leased_until__isnull=False).exists():
            pass
    monkeypatch.undo()
    Delivery.objects.update(leased_until=None)
    with running():
        while Delivery.objects.filter(status="waiting").exists():
            pass
    assert len(receiver.got) == 1
