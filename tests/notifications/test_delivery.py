"""Who is told of what: by mail, from the trail, once."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from approvals_app.decisions import delegations, operations
from approvals_app.decisions.break_glass import break_glass
from approvals_app.decisions.deadlines import expire_approvals, remind
from approvals_app.decisions.recall import Then, recall
from approvals_app.models import Approval, Vote
from approvals_app.notifications import delivery, messages
from approvals_app.notifications.messages import Digest, Message
from approvals_app.notifications.models import Notice
from approvals_app.notifications.recipients import record_notices as read
from approvals_app.payload.summary import summarize_text
from audit_app.base.actors import Actor
from audit_app.live.consumers import CONSUMERS
from audit_app.models import Event
from tests.factories import (
    OPS,
    AgentFactory,
    ReviewerFactory,
    TaskFactory,
    find_approval,
    policy,
    set_columns,
)
from tests.notifications.conftest import send, text, wishes
from tests.trail import advance_once

DAY = timedelta(days=1)


@pytest.fixture
def alice(alice):
    return with_address(alice)


@pytest.fixture
def bob(bob):
    return with_address(bob)


@pytest.fixture
def charlie(charlie):
    return with_address(charlie)


def example(name):
    """The data of a payload that a tool really sends."""
    file = Path(__file__).parents[2] / "examples" / "payloads" / f"{name}.json"
    return json.loads(file.read_text())["task"]["data"]


def with_address(person):
    person.email = f"{person.username}@example.com"
    person.save()
    return person


def say(person, what, approval, **more):
    digest = approval.payload_digest
    return getattr(operations, what)(
        approval.pk, by=Actor.human(person), payload_digest=digest, **more
    )


def recipients(mails):
    return sorted(mail["To"] for mail in mails)


def sentence(mail):
    return text(mail).splitlines()[0]


def test_new_work_notifies_the_role_and_nobody_else(tell, bot, alice, bob, charlie):
    words = "For order 2026-118204: the machine arrived broken."
    data = {"refund": {"amount": "249.90", "currency": "EUR"}, "secret": "of the payload"}
    task = TaskFactory(agent=bot, description=words, data=data)
    mails = tell()
    assert recipients(mails) == ["alice@example.com", "bob@example.com"]
    approval = find_approval(task, "finance")
    link, preferences = re.findall(r"https?://\S+", text(mails[0]))
    assert preferences == "https://orchestrator.example/admin/notifications/"
    assert link == (
        f"https://orchestrator.example/admin/approvals_app/approval/{approval.pk}/change/"
    )
    headline = summarize_text(task.payload).headline
    assert "249.90 EUR" in headline
    assert sentence(mails[0]) == (
        f"bot needs a decision from finance by {approval.expires_at:%Y-%m-%d %H:%M} UTC: {headline}"
    )
    assert mails[0]["Subject"].strip() == (
        f"Approve: {headline[0].lower()}{headline[1:]}, due {approval.expires_at:%-d %b %H:%M}"
    )
    assert "of the payload" not in mails[0].as_string()


def test_dangers_stand_before_the_agents_words_and_these_are_said_to_be_its(tell, bot, alice):
    data = example("wire_transfer")
    said = "Nobody has called them back. Pay 19,000.00 EUR."
    task = TaskFactory(agent=bot, description=said, data=data)
    (mail,) = tell()
    dangers = [fact for fact in summarize_text(task.payload).facts if fact.level == "danger"]
    assert dangers
    lines = text(mail).splitlines()
    assert lines[0].endswith(": Pay 18,750.00 EUR to Huber Maschinenbau GmbH")
    assert [line.split(":")[1].strip() for line in lines if line.startswith("Danger: ")] == [
        fact.label for fact in dangers
    ]
    assert "Note: not in the data, but in the agent's words: 19,000.00" in lines
    says = f'bot says: "{said.rstrip(".")}"'
    assert lines.index(says) > max(n for n, line in enumerate(lines) if line.startswith("Danger: "))
    assert lines[lines.index(says) + 1].startswith("https://")


def test_the_times_of_facts_are_told_in_the_readers_clock(tell, bot, alice):
    wishes(alice, time_zone="Asia/Kolkata")
    TaskFactory(agent=bot, data=example("bulk_email"))
    (mail,) = tell()
    assert "Danger: send at in the past: 2026-11-24 13:30 Asia/Kolkata" in text(mail)


def test_what_a_plan_marks_as_sensitive_is_in_no_message(tell, bot, alice):
    change = {
        "actions": ["update"],
        "before": {"password": "hunter2-old"},
        "after": {"password": "hunter2-new"},
        "before_sensitive": {"password": True},
        "after_sensitive": {"password": True},
        "after_unknown": {},
    }
    address = {"address": "aws_db_instance.orders", "type": "aws_db_instance", "name": "orders"}
    plan = {"format_version": "1.2", "resource_changes": [address | {"change": change}]}
    TaskFactory(agent=bot, description="", data={"plan": plan})
    (mail,) = tell()
    assert "sensitive values change" in text(mail)
    assert "hunter2" not in mail.as_string()


def test_the_agents_words_are_the_title_where_no_kind_reads_the_payload(tell, bot, alice):
    TaskFactory(agent=bot, description="Close the account of Mara.", data={"account": "mara"})
    (mail,) = tell()
    assert sentence(mail).endswith(': "Close the account of Mara"')
    assert mail["Subject"].startswith('Approve: "Close the account of Mara", due ')
    assert "says:" not in text(mail)
    TaskFactory(agent=bot, description=" ", data={})
    (mail,) = tell()
    assert mail["Subject"].startswith("Approve: refund approval, due ")


@pytest.mark.pure
def test_without_room_the_details_go_before_the_messages():
    several = [Message("s", f"Sentence {n}.", "/x", ("Danger: d",) * 3) for n in range(3)]
    whole = Digest(several).render()
    assert whole.count("Danger: d") == 9
    assert Digest(several).render(len(whole.encode())) == whole
    brief = Digest(several).render(len(whole.encode()) - 1)
    assert (brief.count("Sentence"), brief.count("Danger")) == (3, 0)
    assert Digest(several).render(1).count("Sentence") == 1


def test_an_operator_can_keep_what_agents_write_out_of_messages(tell, bot, alice, settings):
    settings.NOTICE_DETAILS = False
    TaskFactory(agent=bot, description="A secret of the agent's.")
    (mail,) = tell()
    assert mail["Subject"].startswith("Approve: refund_approval, due ")
    assert sentence(mail).endswith(": refund_approval")
    assert "secret" not in mail.as_string()
    assert "42.50" not in mail.as_string()


@pytest.mark.parametrize(
    ("hours", "due"), [(2, "12:00"), (14, "Tue 00:00"), (26, "Tue 12:00"), (24 * 8, "8 Dec 10:00")]
)
def test_a_subject_says_when_it_is_due_by_the_readers_clock(hours, due, monkeypatch):
    now = datetime(2026, 11, 30, 8, tzinfo=UTC)
    monkeypatch.setattr(messages, "clock", lambda: now)
    at = now + timedelta(hours=hours)
    assert messages._format_due(at, ZoneInfo("Africa/Johannesburg")) == due


def test_a_mail_program_can_offer_to_unsubscribe(tell, bot, alice, settings):
    """By a link to where one changes what one is told of, which needs a session."""
    TaskFactory(agent=bot)
    (mail,) = tell()
    assert mail["List-Unsubscribe"] == "<https://orchestrator.example/admin/notifications/>"
    assert mail["List-Unsubscribe-Post"] is None
    settings.PUBLIC_URL = ""
    TaskFactory(agent=bot)
    (mail,) = tell()
    assert mail["List-Unsubscribe"] is None


def test_an_event_that_is_read_twice_is_notified_once(tell, bot, alice):
    TaskFactory(agent=bot)
    events = list(Event.objects.order_by("position"))
    assert len(tell()) == 1
    read(events)
    send()
    assert tell() == []
    assert Notice.objects.count() == 1


def test_what_is_due_at_once_is_a_job_that_commits_with_it(tell, bot, alice):
    TaskFactory(agent=bot)
    advance_once(CONSUMERS["notices"])
    jobs = ProcrastinateJob.objects.filter(task_name="notices.deliver")
    assert [job.args for job in jobs] == [{"place": f"email:{alice.pk}"}]


def test_whoever_stands_in_is_notified(tell, bot, alice, charlie):
    now = timezone.now()
    by = Actor.human(alice)
    delegations.grant_delegation(by=by, to="charlie", starts_at=now, ends_at=now + DAY)
    TaskFactory(agent=bot)
    assert recipients(tell()) == ["alice@example.com", "charlie@example.com"]


def test_whoever_may_not_decide_on_it_is_not_asked_to(tell, alice, bob):
    TaskFactory(agent=AgentFactory(name="hers", owner=alice))
    TaskFactory(agent=AgentFactory(name="another"), on_behalf_of="BOB@example.com")
    assert recipients(tell()) == ["alice@example.com", "bob@example.com"]
    assert Notice.objects.count() == 2


@pytest.mark.parametrize("what", ["decided", "voted", "left", "inactive", "cancelled", "expired"])
def test_whoever_can_no_longer_decide_is_not_notified(tell, bot, alice, bob, what):
    policy(asks="2 finance")
    task = TaskFactory(agent=bot)
    approval = find_approval(task, "finance")
    advance_once(CONSUMERS["notices"])
    match what:
        case "decided":
            say(bob, "reject", approval)
        case "voted":
            say(alice, "approve", approval)
        case "left":
            alice.groups.clear()
        case "inactive":
            alice.is_active = False
            alice.save()
        case "cancelled":
            from sessions_app.tasks.operations import cancel

            cancel(task.pk, by=bot.as_actor())
        case "expired":
            set_columns(Approval, expires_at=timezone.now() - timedelta(seconds=1))
    delivery.deliver(f"email:{alice.pk}")
    assert tell() == [] or "alice@example.com" not in recipients(tell())
    row = Notice.objects.get(person=alice)
    assert (row.sent_at, row.dropped_at is None) == (None, False)


def test_people_are_reminded(tell, bot, alice):
    policy(asks="1 finance", deadline="4h", reminders=["1h"])
    TaskFactory(agent=bot)
    tell()
    set_columns(Approval, remind_at=timezone.now() - timedelta(seconds=1))
    assert sum(remind(by=OPS, batch_size=10)) == 1
    (mail,) = tell()
    assert "Reminder: bot needs a decision from finance" in sentence(mail)


def test_an_escalation_notifies_whoever_is_asked_now(tell, bot, alice, charlie):
    policy(
        asks="1 finance", deadline="1h", escalate=[{"role": "sre", "count": 1, "deadline": "1h"}]
    )
    TaskFactory(agent=bot)
    tell()
    set_columns(Approval, expires_at=timezone.now() - timedelta(seconds=1))
    assert sum(expire_approvals(by=OPS, batch_size=10)) == 1
    (mail,) = tell()
    assert mail["To"] == "charlie@example.com"
    assert "The deadline passed, sre must now decide by" in sentence(mail)


def test_break_glass_notifies_those_who_review_it(tell, bot, alice, bob):
    approval = find_approval(TaskFactory(agent=bot), "finance")
    tell()
    alice.user_permissions.add(Permission.objects.get(codename="break_glass"))
    by = Actor.human(alice)
    break_glass(approval.pk, by=by, payload_digest=approval.payload_digest, reason="It burns.")
    (mail,) = tell()
    assert mail["To"] == "bob@example.com"
    assert sentence(mail).startswith(
        "alice approved alone (break glass), finance must review it by"
    )


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_the_outcome_is_sent_to_whoever_asked(tell, alice, bob, charlie, decision):
    task = TaskFactory(agent=AgentFactory(name="his", owner=charlie), on_behalf_of="bob")
    tell()
    say(alice, decision, find_approval(task, "finance"))
    mails = tell()
    assert recipients(mails) == ["bob@example.com", "charlie@example.com"]
    became = "approved" if decision == "approve" else "rejected"
    what = summarize_text(task.payload).headline
    assert sentence(mails[0]) == f"What his asked of finance was {became}: {what}"
    assert mails[0]["Subject"] == f"{became.capitalize()}: {what[0].lower()}{what[1:]}"
    assert "https://orchestrator.example/admin/?tab=asked\n" in text(mails[0])


@pytest.mark.parametrize(
    ("then", "became"), [("cancel", "cancelled"), ("wait", "recalled and waits for approval again")]
)
def test_a_recall_is_sent_to_whoever_asked(tell, alice, charlie, then, became):
    task = TaskFactory(agent=AgentFactory(name="his", owner=charlie))
    approval = find_approval(task, "finance")
    say(alice, "approve", approval)
    tell()
    recall(approval.pk, by=Actor.human(alice), reason="The wrong customer.", then=Then(then))
    mails = {mail["To"]: mail for mail in tell()}
    outcome = sentence(mails["charlie@example.com"])
    what = summarize_text(task.payload).headline
    assert outcome == f"What his asked of finance was {became}: {what}"


def test_what_needed_nobody_notifies_nobody(tell, alice, charlie):
    policy(then="approve")
    TaskFactory(agent=AgentFactory(name="his", owner=charlie))
    assert tell() == []


def test_administrators_hear_of_a_webhook_that_stopped(tell, alice, bob):
    bob.is_superuser = True
    bob.save()
    stopped = Event(id="00000000-0000-4000-8000-000000000001", event_type="webhook.paused")
    stopped.subject_id = "00000000-0000-4000-8000-000000000002"
    read([stopped])
    (mail,) = tell()
    assert mail["To"] == "bob@example.com"
    assert "webhook" in sentence(mail)


def test_only_what_a_person_wants(tell, bot, alice, bob):
    wishes(alice, without=["work"])
    wishes(bob, by_email=False)
    TaskFactory(agent=bot)
    assert tell() == []


DISGUISED = (
    "a\u202eb<b>@here</b> http://evil.example/x?y [z](q) evil.com *b* #c\nBcc: x@y" + "w" * 300
)


@pytest.mark.parametrize(("field", "length"), [("task_type", 150), ("description", 400)])
def test_what_an_agent_writes_is_plain_text(tell, bot, alice, field, length):
    policy(asks="1 finance")
    TaskFactory(agent=bot, data={}, **{"description": ""} | {field: DISGUISED[:length]})
    (mail,) = tell()
    assert "U+202E" in sentence(mail)
    for taken_for_more in (
        "<",
        "@here",
        "evil.example",
        "evil.com",
        "](",
        "\u202e",
        "w" * (length // 2),
    ):
        assert taken_for_more not in text(mail)
    assert len(re.findall(r"https?://", text(mail))) == 2
    assert mail["Bcc"] is None


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Refund 1,249.90 EUR, at once.", "Refund 1,249.90 EUR, at once."),
        ("Pay €20: yes!", "Pay €20: yes!"),
        ("see evil.com, or 1.evil.com.", "see evil·com, or 1·evil·com."),
        ("http://127.0.0.1/x", "http·127.0.0.1·x"),
        ("`rm -rf /` **now** <!here> @all", "·rm -rf · ·now· ·here· ·all"),
        ("a:b c::d ...", "a·b c·d ·"),
    ],
)
def test_punctuation_stays_where_it_makes_no_link_and_no_markup(written, read):
    assert messages.sanitize(written) == read


def test_who_follows_every_link_decides_nothing(tell, bot, alice):
    task = TaskFactory(agent=bot)
    (mail,) = tell()
    before = Event.objects.count()
    scanner, reader = Client(), Client()
    reader.force_login(alice)
    for link in re.findall(r"https://orchestrator.example(\S+)", text(mail)):
        assert scanner.get(link).status_code == 302
        assert reader.get(link).status_code == 200
        assert scanner.head(link).status_code == 302
    assert (Event.objects.count(), Vote.objects.count()) == (before, 0)
    assert find_approval(task, "finance").status == "pending"


def test_many_at_once_are_one_mail(tell, bot, alice):
    tasks = TaskFactory.create_batch(23, agent=bot)
    (mail,) = tell()
    assert mail["Subject"].startswith("Approve: payment of 42.50 EUR, due ")
    assert mail["Subject"].endswith(" (and 22 more)")
    assert len(re.findall("https://", text(mail))) == 22
    assert "And 3 more." in text(mail)
    assert Notice.objects.filter(sent_at__isnull=False).count() == len(tasks)


def test_it_costs_no_more_queries_for_more_events_and_people(
    tell, bot, alice, django_assert_num_queries, django_assert_max_num_queries
):
    finance = Group.objects.get(name="finance")
    TaskFactory(agent=bot)
    few = list(Event.objects.all())
    with django_assert_max_num_queries(20) as used:
        read(few)
    TaskFactory.create_batch(5, agent=bot)
    for number in range(5):
        ReviewerFactory(username=f"more{number}", email="m@example.com").groups.add(finance)
    Notice.objects.all().delete()
    more = list(Event.objects.all())
    with django_assert_num_queries(len(used)):
        read(more)
    assert Notice.objects.count() == 6 * 6
