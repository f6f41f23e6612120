"""Webhooks: what happens is told to whoever is to be told, signed, in order, at least once."""

import json
import logging
import os
import subprocess
import sys
from base64 import b64decode
from contextlib import suppress
from io import StringIO
from uuid import uuid4

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.core.management import call_command
from django.db import transaction
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from audit_app.base import encryption
from audit_app.base.actors import Actor
from audit_app.base.errors import (
    Invalid,
    InvalidTransition,
    WebhookAdministratorsOnly,
    WebhookNameTaken,
)
from audit_app.live import event_log
from audit_app.live.consumers import CONSUMERS
from audit_app.models import Delivery, Event, Webhook
from audit_app.trail.notes import add_event
from audit_app.webhooks import operations, planning, sending
from audit_app.webhooks.operations import public_key
from orchestrator.ops.metrics import database_metrics
from tests.database import database_url, without_guards
from tests.factories import OPS, TaskFactory
from tests.trail import INSERT, writer
from tests.webhooks.conftest import claim, make_older, read_deliveries, try_delivery


def note(agent, number=1):
    add_event("agent.noted", by=agent.as_actor(), metadata={"n": number}, trace_id=uuid4())


def test_an_event_arrives_signed_as_the_api_says_it(webhook, receiver, api, bot):
    note(bot)
    [delivery] = read_deliveries()
    assert try_delivery(delivery) is None

    [sent] = receiver.got
    told = Verifier(webhook.secret_text).verify(sent.body, sent.headers)
    [event] = api(bot).get("/audit/events", event_type="agent.noted").json()["events"]
    assert told == {"type": "agent.noted", "timestamp": event["timestamp"], "data": event}
    assert sent.headers["webhook-id"] == event["event_id"]
    assert (delivery.status, delivery.response_status, delivery.response) == (
        "delivered",
        200,
        "ok",
    )
    assert delivery.attempts == 1
    assert delivery.delivered_at


def test_what_was_changed_on_the_way_does_not_verify(webhook, receiver, bot):
    note(bot)
    try_delivery(read_deliveries()[0])
    [sent] = receiver.got
    with pytest.raises(WebhookVerificationError):
        Verifier(webhook.secret_text).verify(sent.body.replace(b"1", b"2"), sent.headers)


def test_for_a_day_both_secrets_sign(webhook, receiver, bot):
    _, new = operations.rotate_secret(webhook.pk, by=OPS)
    note(bot)
    try_delivery(read_deliveries()[0])
    [sent] = receiver.got
    for secret in (webhook.secret_text, new):
        assert Verifier(secret).verify(sent.body, sent.headers)
    assert signatures(sent.headers) == ["v1", "v1", "v1a"]

    hook = Webhook.objects.get(pk=webhook.pk)
    later = sending.build_headers(
        hook, Event.objects.get(event_type="agent.noted"), sent.body, hook.old_secret_until
    )
    assert signatures(later) == ["v1", "v1a"]


def signatures(headers):
    """The versions of a delivery's signatures."""
    return [each.partition(",")[0] for each in headers["webhook-signature"].split()]


def verified_by_public_key(sent, public_key):
    """Whether one of the v1a signatures is by that key, as Standard Webhooks says."""
    assert public_key.startswith("whpk_")
    key = Ed25519PublicKey.from_public_bytes(b64decode(public_key.removeprefix("whpk_")))
    signed = b".".join(
        [sent.headers[f"webhook-{name}"].encode() for name in ("id", "timestamp")] + [sent.body]
    )
    for signature in sent.headers["webhook-signature"].split():
        version, _, value = signature.partition(",")
        if version == "v1a":
            with suppress(InvalidSignature):
                key.verify(b64decode(value), signed)
                return True
    return False


def test_whoever_holds_no_secret_verifies_by_the_public_key(webhook, receiver, bot):
    note(bot)
    try_delivery(read_deliveries()[0])
    [sent] = receiver.got
    told, other = public_key(webhook), Webhook(pk=uuid4())
    assert verified_by_public_key(sent, told)
    assert not verified_by_public_key(sent, public_key(other)), "each has a key of its own"
    sent.body += b" "
    assert not verified_by_public_key(sent, told)


def test_the_public_key_before_verifies_while_its_secret_key_is_a_fallback(
    webhook, receiver, bot, settings
):
    before = public_key(webhook)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another" * 10
    now = public_key(webhook)
    assert now != before
    note(bot)
    try_delivery(read_deliveries()[0])
    [sent] = receiver.got
    assert verified_by_public_key(sent, before)
    assert verified_by_public_key(sent, now)


def test_only_what_it_wants_is_noted_for_it(webhook, bot):
    operations.change_webhook(
        webhook.pk, by=OPS, url=webhook.url, event_types=["task.*", "approval.*"], roles=["fin*"]
    )
    TaskFactory(agent=bot)
    note(bot)
    assert [row.event_type for row in read_deliveries()] == ["task.routed", "approval.requested"]


def test_what_was_rolled_back_is_never_delivered(webhook, bot):
    with writer() as own:
        own.execute(INSERT, [uuid4()])
        own.rollback()
    note(bot, 2)
    assert [Event.objects.get(pk=row.event_id).metadata for row in read_deliveries()] == [{"n": 2}]


def test_its_offset_and_its_rows_are_written_together_or_not_at_all(webhook, bot):
    read_deliveries()
    note(bot)
    with suppress(RuntimeError), transaction.atomic():
        planning.plan_deliveries(event_log.read(event_log.START))
        raise RuntimeError
    assert not Delivery.objects.exists()
    [row] = read_deliveries()
    assert claim() == [row.pk]
    assert CONSUMERS["webhooks"].advance() == 0


@pytest.mark.parametrize("answer", [500, 404, 301, 400])
def test_a_failure_is_tried_again_later_and_noted(webhook, receiver, bot, answer):
    receiver.answers = [(answer, {"Location": "/elsewhere"}, b"no\x00thing")]
    note(bot)
    [delivery] = read_deliveries()
    again = try_delivery(delivery)

    assert again == delivery.next_attempt_at
    assert (delivery.status, delivery.attempts) == ("waiting", 1)
    assert delivery.response_status == answer
    assert "\x00" not in delivery.response
    assert len(receiver.got) == 1, "no redirect is followed"
    assert try_delivery(delivery) is None
    assert (delivery.status, delivery.attempts) == ("delivered", 2)
    assert receiver.got[0].body == receiver.got[1].body
    assert receiver.got[0].headers["webhook-id"] == receiver.got[1].headers["webhook-id"]


def test_retry_after_is_heeded_within_a_day(webhook, receiver, bot):
    receiver.answers = [(503, {"Retry-After": "7200"}, b""), (503, {"Retry-After": "9" * 30}, b"")]
    note(bot)
    [delivery] = read_deliveries()
    again = try_delivery(delivery)
    assert 7190 < (again - delivery.attempted_at).total_seconds() < 7210
    again = try_delivery(delivery)
    assert 86_390 < (again - delivery.attempted_at).total_seconds() < 86_410


def test_after_ten_tries_in_three_days_it_is_given_up(webhook, receiver, bot):
    total = sum(pause.total_seconds() for pause in sending.SCHEDULE)
    assert 3 * 86_400 < total < 4 * 86_400
    receiver.answers = [500] * 10
    note(bot)
    [delivery] = read_deliveries()
    for _ in range(9):
        assert try_delivery(delivery)
    assert try_delivery(delivery) is None
    assert (delivery.status, delivery.attempts) == ("failed", 10)


def test_gone_disables_it_and_the_trail_says_so(webhook, receiver, bot):
    receiver.answers = [410]
    note(bot)
    note(bot, 2)
    first, second = read_deliveries()
    assert try_delivery(first) is None
    second.refresh_from_db()
    webhook = Webhook.objects.get()
    assert (webhook.status, first.status, second.status) == ("disabled", "failed", "held")
    event = Event.objects.get(event_type="webhook.disabled")
    assert (event.actor, event.metadata) == (
        "system:webhooks",
        {"reason": f"{receiver.url} answered 410 Gone."},
    )
    note(bot, 3)
    assert len(read_deliveries()) == 2


def test_a_day_of_failures_pauses_it_and_it_goes_on_where_it_stopped(webhook, receiver, bot):
    receiver.answers = [500, 500]
    note(bot)
    [first] = read_deliveries()
    assert try_delivery(first)
    make_older(2)
    assert try_delivery(first) is None
    assert (Webhook.objects.get().status, first.status) == ("paused", "held")
    assert Event.objects.filter(event_type="webhook.paused").count() == 1
    note(bot, 2)
    assert [row.status for row in read_deliveries()] == ["held", "held"]

    operations.resume(webhook.pk, by=OPS)
    for row in read_deliveries():
        assert try_delivery(row) is None
    assert [told["data"]["metadata"]["n"] for told in receiver.read_bodies()[2:]] == [1, 2]


def test_a_success_in_between_is_a_sign_of_life(webhook, receiver, bot):
    receiver.answers = [500, 200, 500]
    note(bot)
    note(bot, 2)
    first, second = read_deliveries()
    try_delivery(first)
    make_older(2)
    try_delivery(second)
    assert try_delivery(first), "tried again, and not paused"
    assert Webhook.objects.get().status == "active"


def test_replay_sends_everything_from_there_again_in_order(webhook, receiver, bot):
    note(bot)
    read_deliveries()
    begin = event_log.find_end()
    for number in (2, 3):
        note(bot, number)
    for row in read_deliveries():
        try_delivery(row)
    receiver.got.clear()

    assert operations.replay(webhook.pk, by=OPS, after=begin) == 2
    again = Delivery.objects.filter(status="waiting").order_by("pk")
    for row in again:
        try_delivery(row)
    assert [told["data"]["metadata"]["n"] for told in receiver.read_bodies()] == [2, 3]


def test_one_can_be_sent_again(webhook, receiver, bot):
    note(bot)
    [row] = read_deliveries()
    try_delivery(row)
    operations.send_again(row.pk, by=OPS)
    row.refresh_from_db()
    assert (row.status, row.attempts) == ("waiting", 0)
    try_delivery(row)
    assert len(receiver.got) == 2


def test_what_waits_for_its_next_try_does_not_hold_back_what_is_resumed(webhook, receiver, bot):
    receiver.answers = [500]
    note(bot)
    [row] = read_deliveries()
    try_delivery(row)
    operations.pause(webhook.pk, by=OPS)
    try_delivery(row)
    assert row.status == "held"
    operations.resume(webhook.pk, by=OPS)
    assert claim() == [row.pk]


def test_an_answer_without_end_is_cut(webhook, receiver, bot):
    receiver.answers = [(200, {}, b"x" * 1_000_000)]
    note(bot)
    [row] = read_deliveries()
    try_delivery(row)
    assert (row.status, len(row.response)) == ("delivered", sending.MAX_KEPT)


def test_nobody_there_is_a_failure_that_says_so(webhook, receiver, bot):
    url = "http://127.0.0.1:9/nobody"
    operations.change_webhook(webhook.pk, by=OPS, url=url, event_types=[], roles=[])
    read_deliveries()
    Delivery.objects.all().delete()
    note(bot)
    row = read_deliveries()[-1]
    assert try_delivery(row)
    assert row.response_status is None
    assert "refused" in row.response


def test_a_secret_that_can_not_be_read_is_said_and_nothing_is_sent(
    webhook, receiver, bot, settings
):
    note(bot)
    [row] = read_deliveries()
    settings.SECRET_KEY = "another" * 10
    assert try_delivery(row)
    assert "Rotate" in row.response
    assert not receiver.got


def test_secrets_are_nowhere_in_the_trail_or_the_table(webhook):
    _, new = operations.rotate_secret(webhook.pk, by=OPS)
    told = json.dumps([event.entry for event in Event.objects.all()])
    hook = Webhook.objects.get()
    for secret in (webhook.secret_text, new):
        assert secret not in told
        assert secret not in hook.secret + hook.old_secret
    assert encryption.decrypt(hook.secret, purpose="webhooks") == new


def test_the_address_of_a_webhook_is_in_no_log(webhook, receiver, bot, caplog):
    receiver.answers = [200, 500]
    with caplog.at_level(logging.INFO):
        for number in (1, 2):
            note(bot, number)
            try_delivery(read_deliveries()[-1])
    assert len(receiver.got) == 2
    assert "delivery" in caplog.text
    assert receiver.url not in caplog.text
    assert str(receiver.server_port) not in caplog.text


def test_only_administrators_make_webhooks(bot, alice, receiver):
    given = {"url": receiver.url, "event_types": [], "roles": []}
    for actor in (bot.as_actor(), Actor.human(alice)):
        with pytest.raises(WebhookAdministratorsOnly):
            operations.create_webhook("x", by=actor, **given)
    operations.create_webhook("x", by=OPS, **given)
    with pytest.raises(WebhookNameTaken):
        operations.create_webhook("x", by=OPS, **given)


def test_a_paused_one_can_not_be_paused(webhook):
    operations.pause(webhook.pk, by=OPS)
    with pytest.raises(InvalidTransition):
        operations.pause(webhook.pk, by=OPS)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "ftp://x.example/",
        "https://",
        "https://user:secret@x.example/",
        "https://x.example/#part",
        "https://x.example/ y",
        "https://x.example:0/",
        "https://x.example:99999/",
        "https://é.example/",
        "https://x.example\\@y/",
        "https://[::1/",
    ],
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(Invalid):
        operations.create_webhook("x", by=OPS, url=url, event_types=[], roles=[])


def test_in_production_it_is_https(settings):
    settings.TRIAL = False
    with pytest.raises(Invalid, match="https"):
        operations.create_webhook("x", by=OPS, url="http://x.example/", event_types=[], roles=[])


def test_the_worker_delivers_and_who_is_killed_in_between_delivers_again(webhook, receiver, bot):
    """A worker that dies between the answer and its note sends twice, never not at all."""
    code = (
        "import os, django; django.setup()\n"
        "from audit_app.webhooks import sending\n"
        "sending._save = lambda *_: os._exit(9)\n"
        "from django.core.management import call_command\n"
        "call_command('worker')\n"
    )
    env = os.environ | {
        "DATABASE_URL": database_url(),
        "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
    }
    note(bot)
    killed = subprocess.run([sys.executable, "-c", code], env=env, check=False, timeout=60)
    assert killed.returncode == 9
    [row] = Delivery.objects.all()
    assert (row.status, len(receiver.got)) == ("waiting", 1)
    try_delivery(row)
    assert len({sent.headers["webhook-id"] for sent in receiver.got}) == 1
    assert len(receiver.got) == 2


def test_what_is_over_for_long_is_purged_and_what_waits_is_not(webhook, receiver, bot):
    note(bot)
    note(bot, 2)
    first, second = read_deliveries()
    try_delivery(first)
    with without_guards() as cursor:
        cursor.execute("UPDATE webhook_deliveries SET created_at = now() - interval '31 days'")
    call_command("purge", stdout=StringIO())
    assert list(Delivery.objects.all()) == [second]


def test_metrics_tell_how_deliveries_go(webhook, receiver, bot, client):
    receiver.answers = [500]
    note(bot)
    try_delivery(read_deliveries()[0])
    database_metrics.forget()
    told = client.get("/metrics").content.decode()
    assert 'orchestrator_webhook_deliveries{state="waiting",webhook="ours"} 1.0' in told
    assert 'orchestrator_webhook_active{webhook="ours"} 1.0' in told
    assert 'orchestrator_webhook_success_timestamp_seconds{webhook="ours"} 0.0' in told
    assert 'orchestrator_relay_behind_seconds{relay="webhooks"} 0.0' in told
    note(bot, 2)
    database_metrics.forget()
    told = client.get("/metrics").content.decode()
    assert 'orchestrator_relay_behind_seconds{relay="webhooks"} 0.0\n' not in told
