"""Chats: whose addresses are taken, where they may lead, and what happens when one fails."""

import json
import logging
import os
import socket
import subprocess
import sys
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from approvals_app.notifications import delivery
from approvals_app.notifications.channels import apprise
from approvals_app.notifications.channels.apprise import ChannelRefused
from approvals_app.notifications.messages import Digest, Message
from approvals_app.notifications.models import Notice, NoticeChannel
from audit_app.base import encryption, ssrf
from audit_app.base.ssrf import is_public
from tests.factories import TaskFactory
from tests.notifications.conftest import adds, send, text, wishes

SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"


@pytest.fixture
def alice(alice):
    alice.email = "alice@example.com"
    alice.save()
    return alice


@pytest.fixture
def bob(bob):
    bob.email = "bob@example.com"
    bob.save()
    return bob


def test_a_chat_is_notified_as_a_mailbox_is(tell, chat, bot, alice):
    adds(alice, chat.url)
    TaskFactory(agent=bot)
    (mail,) = tell()
    (said,) = chat.said
    assert said["title"] == mail["Subject"]
    assert said["message"].strip() == text(mail).partition("\n-- \n")[0].strip()


@pytest.mark.parametrize(
    "url",
    [
        SLACK,
        "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
        "https://discord.com/api/webhooks/1234567890/abcdefghijk",
        "workflows://prod.westeurope.logic.azure.com:443/abcdef/ghijkl",
    ],
)
def test_the_services_that_people_use_are_known(url):
    assert apprise.parse_url(url).service_name
    assert apprise.mask_url(url) == f"{url.partition(':')[0]}://…{url[-4:]}"


SERVICES = {
    "discord": "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
    "gchat": "gchat://workspace/key/token",
    "mmosts": "mmosts://example.org/3ccdd113474722377935511fc85d3dd4",
    "ntfys": "ntfys://ntfy.example.org/topic",
    "pover": f"pover://{'u' * 30}@{'a' * 30}",
    "rockets": f"rockets://{'a' * 32}/{'b' * 49}@example.org/#channel",
    "slack": SLACK,
    "tgram": "tgram://123456789:abcdefg_hijklmnop/12315544/",
    "workflows": "workflows://prod.westeurope.logic.azure.com:443/abcdef/ghijkl",
    "wxteams": f"wxteams://{'a' * 80}",
    "zulip": f"zulip://bot@org/{'a' * 32}",
}


@pytest.fixture(params=SERVICES)
def service(request):
    """A service's plugin, and the messages that it would send: (title, body)."""
    plugin, sent = apprise.parse_url(SERVICES[request.param]), []
    plugin.send = lambda body, title="", **_: sent.append((title, body)) or True
    return plugin, sent


def test_what_is_offered_exists():
    assert sorted(SERVICES) == apprise.list_schemes()


@pytest.mark.parametrize("number", [1, 3, 100])
@pytest.mark.parametrize("text", ["x" * 60, "a_" * 30, "1.5-2 + é_ " * 5])
def test_a_service_gets_one_message_that_it_takes(service, monkeypatch, number, text, settings):
    settings.PUBLIC_URL = "https://orchestrator.example"
    plugin, sent = service
    monkeypatch.setattr(apprise, "_instantiate", lambda url: plugin)
    each = Message(f"Approve: {text}, due 18:00", f"bot needs a decision: {text}", f"/{'p' * 80}/")
    assert apprise.send("", Digest([each] * number), own=False)
    [(title, body)] = sent
    assert len(title) <= max(plugin.title_maxlen, 0)
    assert len(body) + (len(title) if plugin.overflow_amalgamate_title else 0) <= plugin.body_maxlen
    listed = body.count("bot needs a decision")
    assert listed == number or f"And {number - listed} more" in body


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "https://example.org/hook",
        "json://127.0.0.1/x",
        "jsons://example.org/x",
        "xml://example.org",
        "form://example.org",
        "dbus://",
        "syslog://",
        "windows://",
        "macosx://",
        "mailto://user:pass@example.org",
        "file:///etc/passwd",
        "mmost://example.org/abcdefghijklmnop",  # not encrypted
        f"{SLACK}?template=/etc/passwd",
        f"{SLACK}?rto=9999",
        f"{SLACK}?verify=no",
        f"{SLACK} json://127.0.0.1",
        f"{SLACK}\njson://127.0.0.1",
        "workflows://example.org/a/b?template=file:///etc/passwd",
        "slack://[::1",
        "x" * 3000,
    ],
)
def test_everything_else_is_refused(alice, url):
    with pytest.raises(ChannelRefused):
        adds(alice, url)
    assert not NoticeChannel.objects.exists()


def test_what_runs_programs_stays_refused_whatever_the_operator_allows(settings):
    settings.NOTICE_SCHEMES = ["dbus", "syslog", "slack"]
    assert apprise.list_schemes() == ["slack"]


def test_an_address_is_kept_encrypted_and_shown_masked(chat, alice, settings):
    channel = adds(alice, chat.url)
    assert "a-secret-token" not in channel.sealed + channel.masked
    assert apprise.decrypt_url(channel.sealed) == chat.url
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another" * 10
    assert apprise.decrypt_url(channel.sealed) == chat.url
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(encryption.DecryptionFailed):
        apprise.decrypt_url(channel.sealed)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433"])
def test_nothing_is_sent_into_private_networks(tell, chat, bot, alice, settings, host):
    port = chat.server_address[1]
    adds(alice, f"json://{host}:{port}/x")
    settings.NOTICE_PRIVATE_NETWORKS = False
    TaskFactory(agent=bot)
    tell()
    assert chat.said == []
    failed = Notice.objects.get(place__startswith="channel:")
    assert (failed.failures, failed.sent_at) == (1, None)


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "::1",
        "fd00::1",
        "fe80::1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "224.0.0.1",
    ],
)
def test_where_a_name_leads_is_looked_at_when_it_is_connected_to(monkeypatch, address):
    def leads(*_, **__):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))]

    monkeypatch.setattr(socket, "getaddrinfo", leads)
    with (
        ssrf.only_public_addresses(),
        pytest.raises(OSError, match="not public"),
    ):
        ssrf._guarded_connect(("rebound.example", 443), timeout=1)


def test_a_redirect_leads_nowhere_else(tell, chat, bot, alice, settings, monkeypatch):
    """The chat is taken for a public one; where it redirects to is not."""
    chat.answer, chat.elsewhere = 302, f"http://127.0.0.2:{chat.server_address[1]}/inner"
    adds(alice, chat.url)
    settings.NOTICE_PRIVATE_NETWORKS = False
    monkeypatch.setattr(
        ssrf, "is_public", lambda address: str(address) == "127.0.0.1" or is_public(address)
    )
    TaskFactory(agent=bot)
    tell()
    assert len(chat.said) == 1
    assert Notice.objects.get(place__startswith="channel:").failures == 1


def test_a_chat_that_fails_holds_up_nobody_else(tell, chat, bot, alice, bob, caplog):
    adds(alice, chat.url)
    chat.answer = 500
    with caplog.at_level(logging.DEBUG):
        TaskFactory(agent=bot)
        mails = tell()
    assert sorted(mail["To"] for mail in mails) == ["alice@example.com", "bob@example.com"]
    failed = Notice.objects.get(failures=1)
    assert failed.due_at > timezone.now()
    logged = [r.getMessage() for r in caplog.records if r.name.startswith(("orch", "apprise"))]
    assert logged
    assert "a-secret-token" not in " ".join(logged)

    chat.answer = 200
    Notice.objects.filter(pk=failed.pk).update(due_at=timezone.now())
    send()
    failed.refresh_from_db()
    assert failed.sent_at is not None
    assert len(chat.said) == 2
    send()
    assert len(chat.said) == 2


def test_after_a_day_it_is_given_up(tell, mailbox, bot, alice):
    mailbox.refuses = True
    TaskFactory(agent=bot)
    waits = []
    tell()
    while (row := Notice.objects.get()).given_up_at is None:
        waits.append(row.due_at - timezone.now())
        Notice.objects.update(due_at=timezone.now())
        send()
    assert waits == sorted(waits)
    assert timedelta(hours=20) < sum(waits, timedelta()) <= timedelta(hours=24)
    assert row.failures == len(waits) + 1
    mailbox.refuses = False
    assert tell() == []


@pytest.mark.parametrize("verb", ["RCPT", "DATA"])
def test_what_a_mail_server_refuses_for_good_is_not_tried_again(tell, mailbox, bot, alice, verb):
    mailbox.refuses, mailbox.refusal, mailbox.at = True, "550 5.1.1 no such person", verb
    TaskFactory(agent=bot)
    tell()
    row = Notice.objects.get()
    assert row.given_up_at is not None
    assert row.failure == "The mail server rejected it: 550 5.1.1 no such person"
    mailbox.refuses = False
    Notice.objects.update(due_at=timezone.now())
    assert tell() == []


def test_a_sender_that_is_refused_is_mended_by_the_operator(tell, mailbox, bot, alice):
    mailbox.refuses, mailbox.refusal, mailbox.at = True, "550 not from here", "MAIL"
    TaskFactory(agent=bot)
    tell()
    assert Notice.objects.get().given_up_at is None
    mailbox.refuses = False
    Notice.objects.update(due_at=timezone.now())
    assert len(tell()) == 1


def test_a_person_who_removed_a_chat_is_not_notified_there(tell, chat, bot, alice):
    wishes(alice, digest="daily", urgent_at_once=False)
    adds(alice, chat.url)
    TaskFactory(agent=bot)
    tell()
    NoticeChannel.objects.all().delete()
    Notice.objects.update(due_at=timezone.now())
    assert len(tell()) == 1
    assert chat.said == []


def test_a_role_shares_channels(tell, chat, bot, alice, settings):
    settings.NOTICE_CHANNELS = {"finance": [chat.url], "sre": [chat.url]}
    TaskFactory(agent=bot)
    tell()
    (said,) = chat.said
    assert "needs a decision from finance" in said["message"]
    assert "a-secret-token" not in "".join(Notice.objects.values_list("place", flat=True))


def test_a_shared_channel_is_not_notified_of_decisions(tell, chat, bot, alice, settings):
    settings.NOTICE_CHANNELS = {"finance": [chat.url]}
    task = TaskFactory(agent=bot)
    tell()
    assert len(chat.said) == 1
    from sessions_app.tasks.operations import cancel

    Notice.objects.filter(person=None).update(sent_at=None, due_at=timezone.now())
    cancel(task.pk, by=bot.as_actor())
    delivery.deliver(Notice.objects.get(person=None).place)
    assert len(chat.said) == 1


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("{", "NOTICE_CHANNELS must be JSON, or a file of it."),
        ('{"finance": "x"}', "NOTICE_CHANNELS must name a list of apprise URLs for a role."),
        ("/does/not/exist", "NOTICE_CHANNELS can't be read: No such file or directory."),
        ('{"finance": ["nope://"]}', "NOTICE_CHANNELS: number 1 of finance is no apprise URL."),
    ],
)
def test_a_wrong_setting_is_one_plain_sentence_at_the_start(given, why):
    started = subprocess.run(
        [sys.executable, "manage.py", "check"],
        env=os.environ | {"NOTICE_CHANNELS": given},
        capture_output=True,
        text=True,
    )
    assert started.returncode != 0
    assert why in started.stderr


def test_a_service_that_is_gone_does_not_stop_the_start(settings):
    """As configured before an upgrade; the others of the role go on."""
    shared = {"finance": ["msteams://a/b/c/d", SLACK]}
    started = subprocess.run(
        [sys.executable, "manage.py", "check"],
        env=os.environ | {"NOTICE_CHANNELS": json.dumps(shared), "NOTICE_SCHEMES": "msteams,slack"},
        capture_output=True,
        text=True,
    )
    assert started.returncode == 0
    assert "msteams" in started.stderr
    assert "NOTICE_CHANNELS" in started.stderr
    assert "a/b/c/d" not in started.stderr
    settings.NOTICE_CHANNELS, settings.NOTICE_SCHEMES = shared, ["msteams", "slack"]
    assert len(apprise.SharedApprise().role_destinations("finance")) == 1
    assert apprise.list_schemes() == ["slack"]


def test_a_right_setting_is_a_file_or_json(tmp_path):
    (tmp_path / "channels.json").write_text(json.dumps({"finance": [SLACK]}))
    apprise.check_shared_urls({"finance": [SLACK]})
    with pytest.raises(ImproperlyConfigured, match="number 2 of finance"):
        apprise.check_shared_urls({"finance": [SLACK, "nope"]})
    started = subprocess.run(
        [sys.executable, "manage.py", "check"],
        env=os.environ | {"NOTICE_CHANNELS": str(tmp_path / "channels.json")},
        capture_output=True,
        text=True,
    )
    assert started.returncode == 0, started.stderr
