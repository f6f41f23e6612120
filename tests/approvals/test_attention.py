"""What reviewers do without deciding: snooze, take, comment."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone

from approvals_app.decisions import comments, operations, retention
from approvals_app.errors import HumansOnly
from approvals_app.models import Approval, Claim, Comment, Snooze
from approvals_app.notifications.models import NoticeSettings
from approvals_app.review import attention
from audit_app.base.actors import Actor
from audit_app.base.errors import NotFound
from audit_app.models import Event
from sessions_app.models import Task
from tests.factories import OPS, TaskFactory, approve_task, policy, set_columns, the_approval

BERLIN = ZoneInfo("Europe/Berlin")


def browser(user):
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def kettle(bot):
    return the_approval(TaskFactory(agent=bot, description="Refund the kettle."))


def page(approval):
    return f"/admin/approvals_app/approval/{approval.pk}/change/"


def post(user, what, approval, **form):
    return browser(user).post(f"/admin/inbox/{what}/{approval.pk}/", form)


class TestSnooze:
    def test_it_leaves_the_inbox_of_one_person_and_comes_back(self, alice, bob, kettle):
        post(alice, "snooze", kettle, until="hour")
        inbox = browser(alice).get("/admin/").text
        assert "Refund the kettle." not in inbox
        assert "1 snoozed" in inbox
        assert "Refund the kettle." in browser(alice).get("/admin/?snoozed=1").text
        assert "Refund the kettle." in browser(bob).get("/admin/").text
        Snooze.objects.update(until=timezone.now() - timedelta(seconds=1))
        inbox = browser(alice).get("/admin/").text
        assert "Refund the kettle." in inbox
        assert "snoozed" not in inbox

    def test_it_is_brought_back(self, alice, kettle):
        post(alice, "snooze", kettle, until="hour")
        assert "Back to my inbox" in browser(alice).get(page(kettle)).text
        post(alice, "snooze", kettle, wake="1")
        assert "Back to my inbox" not in browser(alice).get(page(kettle)).text
        assert "Refund the kettle." in browser(alice).get("/admin/").text

    def test_the_times_are_in_the_readers_zone(self, alice, kettle):
        noon = datetime(2026, 11, 30, 12, tzinfo=BERLIN)
        kettle.expires_at = noon + timedelta(days=7)
        choices = attention.list_snooze_choices(kettle, "Europe/Berlin", noon)
        assert [each.until for each in choices] == [
            noon + timedelta(hours=1),
            datetime(2026, 11, 30, 18, tzinfo=BERLIN),
            datetime(2026, 12, 1, 9, tzinfo=BERLIN),
        ]
        evening = datetime(2026, 11, 30, 19, tzinfo=BERLIN)
        names = [c.name for c in attention.list_snooze_choices(kettle, "Europe/Berlin", evening)]
        assert names == ["hour", "tomorrow"]

    def test_the_page_offers_them_in_the_readers_zone(self, alice, kettle):
        NoticeSettings.objects.create(person=alice, time_zone="Pacific/Auckland")
        assert "Tomorrow, 9:00" in browser(alice).get(page(kettle)).text
        post(alice, "snooze", kettle, until="tomorrow")
        until = Snooze.objects.get().until.astimezone(ZoneInfo("Pacific/Auckland"))
        assert (until.hour, until.minute) == (9, 0)

    def test_it_never_passes_the_deadline(self, alice, bot):
        policy("soon", asks="1 finance", deadline="30m")
        soon = the_approval(TaskFactory(agent=bot))
        assert "Snooze" not in browser(alice).get(page(soon)).text
        post(alice, "snooze", soon, until="hour")
        assert not Snooze.objects.exists()

    def test_it_leads_to_the_next_request_and_nowhere_else(self, alice, bot, kettle):
        lamp = the_approval(TaskFactory(agent=bot))
        answer = post(alice, "snooze", kettle, until="hour", next=page(lamp))
        assert answer.url == page(lamp)
        answer = post(alice, "snooze", lamp, until="hour", next="//evil.example/")
        assert answer.url == "/admin/"


class TestClaim:
    def test_others_see_who_has_it_and_may_decide(self, alice, bob, kettle):
        post(alice, "claim", kettle)
        assert "alice has this" in browser(bob).get(page(kettle)).text
        assert "alice has this" in browser(bob).get("/admin/").text
        assert "You have this" in browser(alice).get(page(kettle)).text
        approve_task(kettle.task, bob)
        assert "has this" not in browser(bob).get(page(kettle)).text

    def test_it_is_released_lapses_and_can_be_taken_over(self, alice, bob, kettle):
        post(alice, "claim", kettle)
        post(bob, "claim", kettle, release="1")
        assert Claim.objects.get().user == alice
        post(bob, "claim", kettle)
        assert Claim.objects.get().user == bob
        Claim.objects.update(claimed_at=timezone.now() - timedelta(minutes=31))
        assert "has this" not in browser(alice).get("/admin/").text
        assert "has this" not in browser(alice).get(page(kettle)).text
        post(bob, "claim", kettle, release="1")
        assert not Claim.objects.exists()


class TestComments:
    def test_everybody_reads_it_and_nothing_is_blocked(self, alice, bob, kettle):
        post(alice, "comment", kettle, text="Which order is it?\r\nI can't find it.")
        text = browser(bob).get(page(kettle)).text
        assert "Which order is it?\nI can&#x27;t find it." in text
        assert approve_task(kettle.task, bob).status == "approved"
        post(bob, "comment", kettle, text="Found it.")
        assert "Found it." in browser(alice).get(page(kettle)).text

    def test_it_is_in_the_trail_with_its_row(self, alice, kettle):
        comment = comments.add_comment(kettle.pk, by=Actor.human(alice), text="Why?")
        event = Event.objects.get(subject_id=comment.pk)
        assert (event.event_type, event.actor) == ("comment.added", "human:alice")
        assert event.metadata["text"] == "Why?"
        with pytest.raises(IntegrityError), transaction.atomic():
            Comment.objects.update(text="Because.")
        with pytest.raises(IntegrityError), connection.cursor() as cursor:
            cursor.execute("DELETE FROM comments; SET CONSTRAINTS ALL IMMEDIATE")

    def test_its_agent_reads_it_in_the_stream_of_events(self, bot, alice, kettle):
        comments.add_comment(kettle.pk, by=Actor.human(alice), text="Why?")
        seen = Event.objects.filter(event_type="comment.added").visible_to(bot.as_actor())
        assert seen.get().metadata["text"] == "Why?"

    def test_who_may_comment(self, bot, charlie, kettle):
        with pytest.raises(HumansOnly):
            comments.add_comment(kettle.pk, by=bot.as_actor(), text="Please.")
        with pytest.raises(NotFound):
            comments.add_comment(kettle.pk, by=Actor.human(charlie), text="Hm.")


@pytest.mark.parametrize("what", ["snooze", "claim", "comment"])
def test_whoever_may_not_see_it_can_do_nothing(charlie, kettle, what):
    assert post(charlie, what, kettle, until="hour", text="Hm.").status_code == 404
    assert browser(charlie).get(f"/admin/inbox/{what}/{kettle.pk}/").status_code == 403


def test_all_of_it_is_purged_with_the_task(alice, bob, kettle):
    post(alice, "snooze", kettle, until="hour")
    post(alice, "claim", kettle)
    post(alice, "comment", kettle, text="Why?")
    by = Actor.human(bob)
    vote = {"payload_digest": kettle.payload_digest}
    operations.reject(kettle.pk, by=by, **vote)
    old = timezone.now() - timedelta(days=100)
    set_columns(Task, updated_at=old)
    list(retention.purge(by=OPS, older_than=timedelta(days=90), batch_size=10))
    assert not Approval.objects.exists()
    for model in (Snooze, Claim, Comment):
        assert not model.objects.exists()
    assert Event.objects.filter(event_type="comment.purged").count() == 1
