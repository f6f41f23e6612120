"""Operations on webhooks, for administrators; each change is an event."""

import base64
import secrets
from datetime import timedelta
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.db import IntegrityError

from audit_app.base import encryption, ssrf
from audit_app.base.actors import Actor, may_administer
from audit_app.base.errors import Invalid, WebhookAdministratorsOnly, WebhookNameTaken
from audit_app.base.events import EventType
from audit_app.live import event_log
from audit_app.live.event_log import Cursor
from audit_app.models import Delivery, Event, Webhook
from audit_app.trail.operation import clock, operation, violated_constraint
from audit_app.trail.recording import create, perform
from audit_app.webhooks import planning

CHANGE_WEBHOOKS = "audit_app.change_webhook"
OLD_SECRET_SIGNS = timedelta(hours=24)
"""How long the previous secret still signs after a rotation."""

MAX_REPLAYED = 10_000


@operation("webhook.create")
def create_webhook(
    name: str, *, by: Actor, url: str, event_types: list[str], roles: list[str]
) -> tuple[Webhook, str]:
    """Create a webhook and return it with its secret (``whsec_…``), which is never shown again.

    Raises WebhookAdministratorsOnly, Invalid, WebhookNameTaken.
    """
    require_administrator(by)
    ssrf.require_webhook_url(url, plain=settings.TRIAL)
    secret = _make_secret()
    webhook = Webhook(
        name=name,
        url=url,
        event_types=event_types,
        roles=roles,
        secret=encryption.encrypt(secret, purpose=planning.PURPOSE),
    )
    try:
        create(webhook, EventType.WEBHOOK_CREATED, by=by)
    except IntegrityError as error:
        if violated_constraint(error) == "webhooks_name_key":
            raise WebhookNameTaken(name=name) from error
        raise
    return webhook, secret


@operation("webhook.change")
def change_webhook(
    webhook_id: UUID, *, by: Actor, url: str, event_types: list[str], roles: list[str]
) -> Webhook:
    """Change the URL and the filters. Waiting deliveries go to the new URL.

    Raises WebhookAdministratorsOnly, NotFound, Invalid.
    """
    require_administrator(by)
    ssrf.require_webhook_url(url, plain=settings.TRIAL)
    webhook = Webhook.objects.lock(webhook_id)
    changes = {"url": url, "event_types": event_types, "roles": roles}
    if changes != {name: getattr(webhook, name) for name in changes}:
        perform(webhook.change, by=by, details=changes, **changes)
    return webhook


@operation("webhook.rotate_secret")
def rotate_secret(webhook_id: UUID, *, by: Actor) -> tuple[Webhook, str]:
    """Create a new secret and return it; the old one also signs for OLD_SECRET_SIGNS.

    Raises WebhookAdministratorsOnly, NotFound.
    """
    require_administrator(by)
    webhook = Webhook.objects.lock(webhook_id)
    secret, until = _make_secret(), clock() + OLD_SECRET_SIGNS
    # The receiver may still verify with the old secret while it is being replaced there.
    encrypted = encryption.encrypt(secret, purpose=planning.PURPOSE)
    details = {"old_secret_until": until.isoformat()}
    perform(webhook.rotate, by=by, details=details, secret=encrypted, until=until)
    return webhook, secret


@operation("webhook.pause")
def pause(webhook_id: UUID, *, by: Actor, why: str = "") -> Webhook:
    """Hold its deliveries until it is resumed.

    Raises WebhookAdministratorsOnly, NotFound, InvalidTransition.
    """
    require_administrator(by)
    webhook = Webhook.objects.lock(webhook_id)
    perform(webhook.pause, by=by, details={"reason": why})
    return webhook


@operation("webhook.resume")
def resume(webhook_id: UUID, *, by: Actor) -> Webhook:
    """Send the held deliveries in order, and new ones from now on.

    Raises WebhookAdministratorsOnly, NotFound, InvalidTransition.
    """
    require_administrator(by)
    webhook = Webhook.objects.lock(webhook_id)
    perform(webhook.resume, by=by)
    planning.send_again(webhook.deliveries.filter(status=Delivery.Status.HELD))
    return webhook


@operation("webhook.disable")
def disable(webhook_id: UUID, *, by: Actor, why: str = "") -> Webhook:
    """Stop sending to it. Raises WebhookAdministratorsOnly, NotFound, InvalidTransition."""
    require_administrator(by)
    webhook = Webhook.objects.lock(webhook_id)
    perform(webhook.disable, by=by, details={"reason": why})
    return webhook


@operation("webhook.replay")
def replay(webhook_id: UUID, *, by: Actor, after: Cursor) -> int:
    """Send the events behind ``after`` that match its filters, in order, even if sent before.
    They run behind live events.

    Reads at most MAX_REPLAYED events; returns how many of them it sends.

    Raises WebhookAdministratorsOnly, NotFound, CursorExpired.
    """
    require_administrator(by)
    webhook = Webhook.objects.lock(webhook_id)
    events: list[Event] = event_log.read(after, MAX_REPLAYED)
    wanted = [event for event in events if webhook.wants(event)]
    planning.create_deliveries(webhook, wanted, replayed=True)
    deliveries = webhook.deliveries.filter(event_id__in=[event.pk for event in wanted])
    planning.send_again(deliveries, replayed=True)
    return len(wanted)


@operation("webhook.send_again")
def send_again(delivery_id: int, *, by: Actor) -> None:
    """Send one delivery again. Raises WebhookAdministratorsOnly."""
    require_administrator(by)
    planning.send_again(Delivery.objects.filter(pk=delivery_id))


def parse_globs(text: str, field: str) -> list[str]:
    """Parse names with ``*``, separated by blanks or commas. Raises Invalid for ``field``."""
    globs = text.replace(",", " ").split()
    if len(globs) > 50 or any(len(glob) > 150 for glob in globs):
        raise Invalid(field=field, reason="at most 50 names of at most 150 characters.")
    return globs


def public_key(webhook: Webhook) -> str:
    """The key that verifies deliveries without the secret (``whpk_…``, Ed25519, v1a)."""
    key = signing_keys(webhook)[0].public_key().public_bytes_raw()
    return "whpk_" + base64.b64encode(key).decode()


def signing_keys(webhook: Webhook) -> list[Ed25519PrivateKey]:
    """The keys that sign for ``webhook``, the current one first."""
    # One key per webhook, so that a delivery to one can't be passed off as one to another.
    return encryption.signing_keys(f"{planning.PURPOSE} {webhook.pk}")


def require_administrator(by: Actor) -> None:
    """Raise WebhookAdministratorsOnly unless ``by`` may change webhooks."""
    if not may_administer(by, CHANGE_WEBHOOKS):
        raise WebhookAdministratorsOnly


def _make_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
