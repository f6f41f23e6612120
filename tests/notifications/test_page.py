"""The page on which each person says what they want to be told."""

from datetime import time

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from approvals_app.notifications.models import Notice, NoticeChannel, NoticeSettings
from tests.factories import ReviewerFactory, TaskFactory
from tests.notifications.conftest import adds, send, text

PAGE = "/admin/notifications/"
GIVEN = {
    "action": "save",
    "kinds": ["work", "decision"],
    "digest": "hourly",
    "digest_hour": "9",
    "time_zone": "Europe/Berlin",
    "quiet_from": "22:00",
    "quiet_until": "07:00",
    "by_email": "on",
}


@pytest.fixture
def alice(alice):
    alice.email = "alice@example.com"
    alice.save()
    return alice


@pytest.fixture
def page(client, alice):
    client.force_login(alice)

    def ask(**sent):
        answer = client.post(PAGE, sent) if sent else client.get(PAGE)
        return answer.status_code, answer.content.decode()

    return ask


def test_what_is_saved_is_kept_and_shown(page, alice):
    assert page(**GIVEN)[0] == 302
    wish = NoticeSettings.objects.get(person=alice)
    assert (wish.quiet_from, wish.quiet_until) == (time(22), time(7))
    assert (wish.digest, wish.digest_hour, wish.urgent_at_once) == ("hourly", 9, False)
    assert set(wish.without) == {
        "reminder",
        "escalation",
        "break_glass",
        "undecidable",
        "webhook",
    }
    shown = page()[1]
    assert 'value="22:00"' in shown
    assert 'value="Europe/Berlin"' in shown


def test_before_anything_is_saved_the_browsers_time_zone_is_offered(client, page):
    client.cookies["time_zone"] = "Asia/Kolkata"
    assert 'value="Asia/Kolkata"' in page()[1]
    page(**GIVEN)
    assert 'value="Europe/Berlin"' in page()[1]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"time_zone": "Nowhere/Land"}, "Choose a time zone"),
        ({"time_zone": "../../etc/passwd"}, "Choose a time zone"),
        ({"time_zone": "\x00"}, "ull characters"),
        ({"quiet_until": ""}, "a start and an end"),
        ({"quiet_from": "25:00"}, "Enter a valid time"),
        ({"digest": "never"}, "not one of the available choices"),
        ({"digest_hour": "24"}, "not one of the available choices"),
        ({"digest_hour": "\u0661"}, "not one of the available choices"),
        ({"kinds": ["test"]}, "not one of the available choices"),
        ({"action": "delete everything"}, "is not available"),
    ],
)
def test_what_makes_no_sense_is_refused_and_stays_in_the_form(page, given, why):
    status, shown = page(**GIVEN | given)
    assert status == 400
    assert why in shown
    assert not NoticeSettings.objects.exists()


def test_a_chat_is_added_tried_and_removed(page, alice, chat, tell):
    assert page(action="add", url=chat.url)[0] == 302
    channel = NoticeChannel.objects.get(person=alice)
    shown = page()[1]
    assert channel.masked in shown
    assert "a-secret-token" not in shown
    assert page(action="test", channel=str(channel.pk))[0] == 302
    send()
    assert "This is a test" in chat.said[0]["message"]
    assert page(action="remove", channel=str(channel.pk))[0] == 302
    assert not NoticeChannel.objects.exists()


def test_the_mail_can_be_tried(page, mailbox):
    assert page(action="test_email")[0] == 302
    send()
    assert "This is a test" in text(mailbox.one())


def test_an_address_that_is_refused_is_explained_and_not_shown_again(page):
    status, shown = page(action="add", url="json://10.0.0.1/secret-path")
    assert status == 400
    assert "Supported: " in shown
    assert "secret-path" not in shown


def test_there_is_an_end_to_chats(page, chat):
    for number in range(5):
        assert page(action="add", url=f"{chat.url}{number}")[0] == 302
    status, shown = page(action="add", url=chat.url)
    assert (status, NoticeChannel.objects.count()) == (400, 5)
    assert "You already have 5 channels" in shown


@pytest.mark.parametrize("action", ["test", "remove"])
def test_anothers_chat_is_not_there(page, chat, bob, action):
    channel = adds(bob, chat.url)
    assert channel.masked not in page()[1]
    for name in (str(channel.pk), "nonsense", ""):
        assert page(action=action, channel=name)[0] == 404
    assert NoticeChannel.objects.filter(pk=channel.pk).exists()
    assert not Notice.objects.exists()


def test_what_could_not_be_sent_is_said(page, tell, mailbox, bot, bob):
    mailbox.refuses = True
    TaskFactory(agent=bot)
    tell()
    assert "The mail server did not accept it. Next try:" in page()[1]
    Notice.objects.update(given_up_at=timezone.now())
    assert "Given up." in page()[1]


def test_administrators_see_whose_mail_is_refused(page, tell, mailbox, bot, alice, bob):
    bob.email = "bob@example.com"
    bob.save()
    mailbox.refuses, mailbox.refusal = True, "550 5.1.1 no such <b>person</b>"
    TaskFactory.create_batch(2, agent=bot)
    tell()
    assert "People who can" not in page()[1]
    alice.is_superuser = True
    alice.save()
    shown = page()[1].partition("People who can")[2]
    assert shown.count("<strong>bob</strong>") == 1
    assert "550 5.1.1 no such ·b·person·b·" in shown


class TestWhoeverNothingReaches:
    """The page says so first, where no way leads to the person: not theirs, not a group's."""

    WARNING = "Nothing reaches you yet."

    def test_is_told_so(self, page, alice, settings):
        settings.EMAIL_CONFIGURED = False
        assert self.WARNING in page()[1]  # the server sends no mail
        alice.email = ""
        alice.save()
        assert "ask an administrator to enter your e-mail address" in page()[1]

    def test_by_mail(self, page, alice, mailbox):
        assert self.WARNING not in page()[1]
        NoticeSettings.objects.create(person=alice, by_email=False)
        assert self.WARNING in page()[1]
        assert "switch e-mail on" in page()[1]

    def test_by_a_chat(self, page, alice, chat):
        adds(alice, chat.url)
        assert self.WARNING not in page()[1]

    def test_by_a_channel_of_a_group(self, page, settings):
        settings.EMAIL_CONFIGURED = False
        settings.NOTICE_CHANNELS = {"sre": ["json://localhost"]}
        assert self.WARNING in page()[1]
        settings.NOTICE_CHANNELS = {"finance": ["json://localhost"]}
        assert self.WARNING not in page()[1]


def test_services_have_the_names_that_people_know(page):
    shown = page()[1]
    assert "Google Chat, Mattermost, Microsoft Teams, ntfy, Pushover, Rocket.Chat, Slack" in shown
    assert "gchat" not in shown


def test_the_page_costs_the_same_however_much_was_sent(page, alice):
    def measure_page():
        with CaptureQueriesContext(connection) as queries:
            shown = page()[1]
        return sum('"notice' in query["sql"] for query in queries), shown.count("<li><strong>")

    few, none = measure_page()
    rows = [
        Notice(
            event_id=f"00000000-0000-4000-8000-{number:012}",
            subject_id=f"00000000-0000-4000-8000-{number:012}",
            place=f"email:{alice.pk}",
            person=alice,
            kind="work",
            due_at=timezone.now(),
            failures=1,
        )
        for number in range(50)
    ]
    Notice.objects.bulk_create(rows)
    assert (none, few > 0) == (0, True)
    assert measure_page() == (few, 20)


def test_whoever_is_no_reviewer_has_it_too_and_a_stranger_does_not(client):
    owner = ReviewerFactory(username="owner", roles=[])
    client.force_login(owner)
    assert client.get(PAGE).status_code == 200
    client.force_login(ReviewerFactory(username="outsider", is_staff=False))
    assert client.get(PAGE).status_code == 302
