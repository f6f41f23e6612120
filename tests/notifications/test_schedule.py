"""Quiet hours and digests, on the clock of whoever is told."""

from datetime import UTC, datetime, time, timedelta

import pytest
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from approvals_app.notifications.delivery import sweep
from approvals_app.notifications.models import Notice, NoticeSettings
from approvals_app.notifications.schedule import send_at
from tests.factories import TaskFactory
from tests.notifications.conftest import text, wishes

BERLIN = {"time_zone": "Europe/Berlin"}
NIGHT = BERLIN | {"quiet_from": time(22), "quiet_until": time(7)}
LUNCH = {"quiet_from": time(12), "quiet_until": time(13, 30)}


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("wish", "now", "told"),
    [
        ({}, "2026-03-10T12:00", "2026-03-10T12:00"),
        (LUNCH, "2026-03-10T11:59", "2026-03-10T11:59"),
        (LUNCH, "2026-03-10T12:00", "2026-03-10T13:30"),
        (LUNCH, "2026-03-10T13:30", "2026-03-10T13:30"),
        # Berlin is an hour ahead in winter, two in summer; its night goes over midnight.
        (NIGHT, "2026-03-10T20:59", "2026-03-10T20:59"),
        (NIGHT, "2026-03-10T21:00", "2026-03-11T06:00"),
        (NIGHT, "2026-03-11T01:00", "2026-03-11T06:00"),
        (NIGHT, "2026-03-11T06:00", "2026-03-11T06:00"),
        # The night in which the clock is set forward, and that in which it is set back.
        (NIGHT, "2026-03-28T22:00", "2026-03-29T05:00"),
        (NIGHT, "2026-10-24T21:00", "2026-10-25T06:00"),
        # An end that the clock jumps over is when it would have been.
        (NIGHT | {"quiet_until": time(2, 30)}, "2026-03-28T23:00", "2026-03-29T01:30"),
        # Of an end that is there twice: whichever comes next.
        (NIGHT | {"quiet_until": time(2, 30)}, "2026-10-25T00:10", "2026-10-25T00:30"),
        (NIGHT | {"quiet_until": time(2, 30)}, "2026-10-25T01:10", "2026-10-25T01:30"),
        ({"digest": "hourly"}, "2026-03-10T12:20", "2026-03-10T13:00"),
        ({"digest": "hourly", "time_zone": "Asia/Kolkata"}, "2026-03-10T12:20", "2026-03-10T12:30"),
        (BERLIN | {"digest": "daily"}, "2026-03-10T06:59", "2026-03-10T07:00"),
        (BERLIN | {"digest": "daily"}, "2026-03-10T07:00", "2026-03-11T07:00"),
        (BERLIN | {"digest": "daily"}, "2026-03-28T08:00", "2026-03-29T06:00"),
        (NIGHT | {"digest": "hourly"}, "2026-03-10T20:30", "2026-03-11T06:00"),
    ],
)
def test_when(wish, now, told):
    assert send_at(NoticeSettings(**wish), at(now), None) == at(told)


@pytest.mark.parametrize(
    ("deadline", "told"),
    [
        ("2026-03-11T05:00", "2026-03-10T22:00"),
        ("2026-03-11T06:00", "2026-03-10T22:00"),
        ("2026-03-11T06:01", "2026-03-11T06:00"),
        ("2026-03-10T21:00", "2026-03-11T06:00"),  # over already
    ],
)
def test_what_is_due_before_the_night_is_over_does_not_wait(deadline, told):
    now = at("2026-03-10T22:00")
    assert send_at(NoticeSettings(**NIGHT), now, at(deadline)) == at(told)
    patient = NoticeSettings(**NIGHT, urgent_at_once=False)
    assert send_at(patient, now, at(deadline)) == at("2026-03-11T06:00")


@pytest.fixture
def alice(alice):
    alice.email = "alice@example.com"
    alice.save()
    return alice


def test_a_digest_is_one_mail_when_its_time_comes(tell, bot, alice):
    wishes(alice, digest="daily", urgent_at_once=False)
    TaskFactory.create_batch(3, agent=bot)
    assert tell() == []
    due = Notice.objects.values_list("due_at", flat=True).distinct().get()
    assert timezone.now() < due <= timezone.now() + timedelta(days=1)
    assert (due.hour, due.minute) == (8, 0)

    Notice.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    (mail,) = tell()
    assert mail["Subject"].endswith(" (and 2 more)")
    assert text(mail).count("needs a decision from finance") == 3


def test_the_clock_finds_what_became_due(tell, bot, alice):
    wishes(alice, digest="daily", urgent_at_once=False)
    TaskFactory(agent=bot)
    tell()
    sweep(0)
    assert not ProcrastinateJob.objects.exists()
    Notice.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    sweep(0)
    assert ProcrastinateJob.objects.get().args == {"place": f"email:{alice.pk}"}


def test_what_is_long_over_is_removed(tell, bot, alice):
    TaskFactory(agent=bot)
    tell()
    TaskFactory(agent=bot)
    Notice.objects.update(created_at=timezone.now() - timedelta(days=31))
    wishes(alice, digest="daily", urgent_at_once=False)
    tell()
    sweep(0)
    assert [row.sent_at for row in Notice.objects.all()] == [None]
