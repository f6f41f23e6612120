"""Webhooks in the admin: who may, does it by operations; who may read, sees how it goes."""

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from standardwebhooks import Webhook as Signer

from audit_app.models import Delivery, Event, Webhook
from audit_app.webhooks import operations
from tests.factories import ReviewerFactory
from tests.webhooks.conftest import read_deliveries, try_delivery
from tests.webhooks.test_deliveries import note


@pytest.fixture
def ada():
    """May change webhooks, and reads everything."""
    person = ReviewerFactory(username="ada")
    names = ["change_webhook", "view_webhook", "read_everything"]
    person.user_permissions.set(Permission.objects.filter(codename__in=names))
    return person


@pytest.fixture
def browser(ada):
    client = Client()
    client.force_login(ada)
    return client


def page(webhook, way=""):
    name = f"_{way}" if way else "_change"
    return reverse(f"admin:audit_app_webhook{name}", args=[webhook.pk])


def test_one_is_created_and_its_secret_shown_once(browser, ada, receiver):
    form = {"name": "siem", "url": receiver.url, "event_types": "task.*, approval.*", "roles": ""}
    shown = browser.post(reverse("admin:audit_app_webhook_add"), form)
    webhook = Webhook.objects.get()
    assert webhook.event_types == ["task.*", "approval.*"]
    assert b'value="whsec_' in shown.content
    assert shown.headers["Cache-Control"].find("no-store") >= 0
    assert Event.objects.get(event_type="webhook.created").actor == "human:ada"
    its_page = browser.get(page(webhook)).content
    assert b"whsec_" not in its_page
    assert operations.public_key(webhook).encode() in its_page
    again = browser.post(reverse("admin:audit_app_webhook_add"), form)
    assert (again.status_code, b"A webhook named siem already exists" in again.content) == (
        400,
        True,
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [("url", "nowhere"), ("url", "https://u:p@x.example/"), ("event_types", "x " * 60)],
)
def test_what_is_wrong_is_said_and_nothing_is_made(browser, receiver, field, value):
    form = {"name": "siem", "url": receiver.url, "event_types": "", "roles": "", field: value}
    refused = browser.post(reverse("admin:audit_app_webhook_add"), form)
    assert refused.status_code == 400
    assert b'role="alert"' in refused.content
    assert not Webhook.objects.exists()


def test_its_page_tells_how_deliveries_went(browser, webhook, receiver, bot):
    receiver.answers = [(500, {}, b"<b>no</b>")]
    note(bot)
    note(bot, 2)
    for row in read_deliveries():
        try_delivery(row)
    whole = browser.get(page(webhook)).content.decode()
    assert "500 &lt;b&gt;no&lt;/b&gt;" in whole
    assert whole.count("agent.noted") >= 2
    waiting = browser.get(page(webhook), {"outcome": "waiting"}).content.decode()
    assert "&lt;b&gt;no" in waiting
    delivered = browser.get(page(webhook), {"outcome": "delivered"}).content.decode()
    assert "&lt;b&gt;no" not in delivered
    listed = browser.get(reverse("admin:audit_app_webhook_changelist")).content.decode()
    assert "ours" in listed


def test_it_is_changed_paused_resumed_and_disabled(browser, webhook, receiver):
    form = {"url": receiver.url + "/new", "event_types": "", "roles": "finance"}
    assert browser.post(page(webhook, "edit"), form).status_code == 302
    for way, state in (("pause", "paused"), ("resume", "active"), ("disable", "disabled")):
        assert browser.post(page(webhook, way), {"reason": "Moved."}).status_code == 302
        webhook = Webhook.objects.get()
        assert webhook.status == state
    assert (webhook.url, webhook.roles) == (receiver.url + "/new", ["finance"])
    told = Event.objects.filter(subject_type="webhook", actor="human:ada").order_by("position")
    assert [event.event_type for event in told] == [
        "webhook.changed",
        "webhook.paused",
        "webhook.resumed",
        "webhook.disabled",
    ]
    refused = browser.post(page(webhook, "pause"), follow=True)
    assert b"pause" in refused.content


def test_a_new_secret_is_shown_once(browser, webhook):
    shown = browser.post(page(webhook, "rotate"), {"confirmed": "yes"})
    assert b'value="whsec_' in shown.content
    assert webhook.secret_text.encode() not in shown.content


@pytest.mark.parametrize("way", ["rotate", "disable"])
def test_a_mere_click_says_what_it_would_do_and_does_nothing(browser, webhook, way):
    before = Webhook.objects.values().get()
    for answer in (browser.get(page(webhook, way)), browser.post(page(webhook, way))):
        assert b'class="o-consequences"' in answer.content
    assert Webhook.objects.values().get() == before


def test_an_address_that_deliveries_may_not_go_to_is_refused_with_the_reason(
    browser, webhook, receiver, settings
):
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    form = {"url": receiver.url, "event_types": "", "roles": ""}
    new = browser.post(reverse("admin:audit_app_webhook_add"), form | {"name": "siem"})
    changed = browser.post(page(webhook, "edit"), form)
    for refused in (new, changed):
        assert refused.status_code == 400
        assert b"127.0.0.1, which is not a public address." in refused.content
        assert b"WEBHOOK_ALLOWED_NETWORKS" in refused.content
    assert Webhook.objects.count() == 1


def test_a_test_is_delivered_signed_and_its_answer_shown(browser, webhook, receiver, caplog):
    receiver.answers = [200, (503, {}, b"<b>later</b>")]
    events = Event.objects.count()
    good = browser.post(page(webhook, "test"), follow=True).content.decode()
    assert "Test delivered: 200 in" in good
    bad = browser.post(page(webhook, "test"), follow=True).content.decode()
    assert "Test failed: 503 after" in bad
    assert "&lt;b&gt;later&lt;/b&gt;" in bad
    sent = receiver.got[0]
    body = Signer(webhook.secret_text).verify(
        sent.body, {name.lower(): value for name, value in sent.headers.items()}
    )
    assert (body["type"], body["data"]["webhook"]) == ("webhook.test", "ours")
    assert Event.objects.count() == events
    assert not Delivery.objects.exists()
    assert receiver.url not in caplog.text


def test_a_test_that_nobody_answers_is_said_and_no_get_sends_one(
    browser, webhook, receiver, settings
):
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    shown = browser.post(page(webhook, "test"), follow=True).content.decode()
    assert "Test failed: no answer" in shown
    assert "which is not a public address." in shown
    assert browser.get(page(webhook, "test")).status_code == 403
    assert not receiver.got


def test_a_span_and_a_single_one_are_sent_again(browser, webhook, receiver, bot):
    note(bot)
    [row] = read_deliveries()
    try_delivery(row)
    answer = browser.post(page(webhook, "replay"), {"span": "hour"}, follow=True)
    assert b"1 events are sent again" in answer.content
    try_delivery(row)
    browser.post(page(webhook, "again"), {"delivery": row.pk})
    row.refresh_from_db()
    assert row.status == "waiting"
    assert browser.post(page(webhook, "replay"), {"span": "x"}).status_code == 302
    assert browser.post(page(webhook, "again"), {"delivery": "x"}).status_code == 404


def test_a_reviewer_sees_none_of_it(webhook, alice):
    client = Client()
    client.force_login(alice)
    for way in ("", "edit"):
        assert client.get(page(webhook, way)).status_code == 403
    for way in ("rotate", "pause", "resume", "disable", "replay", "again", "test"):
        assert client.post(page(webhook, way)).status_code == 403
    assert client.get(reverse("admin:audit_app_webhook_changelist")).status_code == 403
    assert b"Webhooks" not in client.get(reverse("admin:index")).content


def test_an_auditor_reads_and_changes_nothing(webhook):
    auditor = ReviewerFactory(username="audrey")
    auditor.user_permissions.set(Permission.objects.filter(codename="read_everything"))
    client = Client()
    client.force_login(auditor)
    shown = client.get(page(webhook))
    assert shown.status_code == 200
    assert b"Disable" not in shown.content
    assert client.post(page(webhook, "disable")).status_code == 403
    assert Delivery.objects.count() == 0
