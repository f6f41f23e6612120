"""A changed SECRET_KEY: what was encrypted is read, and encrypted anew."""

import pytest

from approvals_app.notifications.channels import apprise
from approvals_app.notifications.models import NoticeChannel
from audit_app.base import encryption
from audit_app.models import Event, Webhook
from audit_app.webhooks import operations, planning
from orchestrator.gateway import operations as upstreams
from orchestrator.gateway.models import Upstream
from tests.commands.conftest import expect_failure
from tests.factories import OPS

NEW = "n" * 64
URL = "slack://token@channel"


@pytest.fixture
def stored_secrets(alice):
    """A webhook with an earlier secret, its present secret, and a channel of alice's."""
    about = {"url": "https://hooks.example/", "event_types": [], "roles": []}
    webhook, _ = operations.create_webhook("hook", by=OPS, **about)
    webhook, secret = operations.rotate_secret(webhook.pk, by=OPS)
    sealed = encryption.encrypt(URL, purpose=apprise.PURPOSE)
    channel = NoticeChannel.objects.create(
        person=alice, sealed=sealed, masked="slack", service="Slack"
    )
    upstreams.create_upstream(
        "notes",
        by=OPS,
        role="ops",
        agent_roles=[],
        url="https://notes.example/mcp",
        secrets={"Authorization": "Bearer hush"},
    )
    return webhook, secret, channel


def rotate(settings, *, fallbacks=True):
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY] if fallbacks else []
    settings.SECRET_KEY = NEW


def test_the_former_key_is_not_needed_any_more(stored_secrets, settings, run):
    _, secret, _ = stored_secrets
    rotate(settings)
    assert run("reencrypt_secrets") == {
        "webhooks": 1,
        "upstreams": 1,
        "channels": 1,
        "devices": 0,
    }
    settings.SECRET_KEY_FALLBACKS = []

    webhook, channel = Webhook.objects.get(), NoticeChannel.objects.get()
    assert encryption.decrypt(webhook.secret, purpose=planning.PURPOSE) == secret
    assert encryption.decrypt(webhook.old_secret, purpose=planning.PURPOSE)
    assert encryption.decrypt(channel.sealed, purpose=apprise.PURPOSE) == URL
    assert upstreams.read_secrets(Upstream.objects.get()) == {"Authorization": "Bearer hush"}
    for event in Event.objects.order_by("-position")[:2]:
        assert event.event_type in ("webhook.changed", "upstream.changed")
        assert event.metadata == {"reencrypted": True}


def test_a_second_run_changes_nothing(stored_secrets, settings, run):
    rotate(settings)
    run("reencrypt_secrets")
    before, events = Webhook.objects.get().secret, Event.objects.count()

    assert not any(run("reencrypt_secrets").values())
    assert (Webhook.objects.get().secret, Event.objects.count()) == (before, events)


def test_what_no_key_decrypts_is_named(stored_secrets, settings):
    rotate(settings, fallbacks=False)
    _, sentence = expect_failure("reencrypt_secrets")

    assert "decrypts the webhook hook, the upstream notes, the Slack of alice." in sentence
