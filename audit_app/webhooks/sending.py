"""Sending deliveries: one signed request each, its outcome, and the next attempt.

Each is sent at least once; receivers recognise repetitions by the event's id. Requests are signed
as Standard Webhooks specifies.
"""

import base64
import random
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import orjson
import structlog
from django.conf import settings
from django.db.models import Max, Min
from standardwebhooks import Webhook as Signer

from audit_app.base import encryption, http_client
from audit_app.base.actors import Actor
from audit_app.base.connections import release_connection
from audit_app.base.ssrf import DestinationRefused
from audit_app.http.representation import compile_serializer
from audit_app.http.serializers import EventSerializer
from audit_app.models import Delivery, Event, Webhook
from audit_app.trail.operation import clock
from audit_app.webhooks import operations
from audit_app.webhooks.planning import PURPOSE

log = structlog.get_logger("orchestrator.webhooks")

SCHEDULE = tuple(
    timedelta(seconds=seconds)
    for seconds in (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
)
"""The pauses between attempts: ten attempts in a little over three days."""

JITTER = 0.1
TIMEOUT = 10.0
"""Seconds for a whole request and its answer."""

MAX_ANSWER = 4096
"""Bytes read of an answer's body."""

MAX_KEPT = 500
FAILING_FOR = timedelta(days=1)
"""A webhook is paused after failing this long without a success."""

GONE = 410
TEST_EVENT = "webhook.test"
ACTOR = Actor.system("webhooks")


def deliver(delivery_id: int) -> datetime | None:
    """Attempt a delivery once; return when the next attempt is due, if one is."""
    delivery = Delivery.objects.select_related("webhook").filter(pk=delivery_id).first()
    # Another worker may have sent it since: a lease ends, whoever holds it.
    if delivery is None or delivery.status != Delivery.Status.WAITING:
        return None
    webhook = delivery.webhook
    if webhook.status != Webhook.Status.ACTIVE:
        held = Delivery.objects.filter(pk=delivery_id)
        held.update(status=Delivery.Status.HELD, leased_until=None)
        return None
    event = Event.objects.filter(pk=delivery.event_id).first()
    if event is None:
        _save(delivery, Delivery.Status.FAILED, Outcome(None, "The event is no longer kept.", 0))
        return None
    outcome = _send(webhook, event.pk, build_body(event))
    if outcome.is_success:
        _save(delivery, Delivery.Status.DELIVERED, outcome)
        return None
    # 410 says that the receiver will never come back.
    if outcome.status == GONE:
        _save(delivery, Delivery.Status.FAILED, outcome)
        _deactivate(webhook, "disable", f"{webhook.url} answered 410 Gone.")
        return None
    if delivery.attempts >= len(SCHEDULE):
        _save(delivery, Delivery.Status.FAILED, outcome)
        return None
    at = _next_attempt_at(delivery.attempts, outcome)
    _save(delivery, Delivery.Status.WAITING, outcome, at)
    # The later ones of its subject wait for it.
    behind = webhook.deliveries.filter(status=Delivery.Status.WAITING, leased_until=None)
    behind.filter(subject_id=delivery.subject_id).update(next_attempt_at=at)
    if _fails_for_long(webhook):
        _deactivate(webhook, "pause", "Nothing arrived for a day.")
        return None
    return at


class Outcome:
    """The outcome of one request; ``status`` is None if nothing answered."""

    def __init__(
        self, status: int | None, answer: str, milliseconds: int, retry_after: int = 0
    ) -> None:
        self.status = status
        # PostgreSQL stores no NUL in text.
        self.answer = answer.replace("\x00", "\ufffd")[:MAX_KEPT]
        self.milliseconds = milliseconds
        self.retry_after = retry_after

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def build_body(event: Event) -> bytes:
    """The body for ``event``: the same bytes at every attempt."""
    data = compile_serializer(EventSerializer)(event)
    whole = {"type": event.event_type, "timestamp": data["timestamp"], "data": data}
    return orjson.dumps(whole, default=str)


def build_headers(webhook: Webhook, message_id: UUID, body: bytes, now: datetime) -> dict[str, str]:
    """The headers of Standard Webhooks, signed with every valid secret and with the webhook's
    Ed25519 keys. Raises DecryptionFailed."""
    secrets = [webhook.secret]
    if webhook.old_secret and webhook.old_secret_until and webhook.old_secret_until > now:
        secrets.append(webhook.old_secret)
    signatures = [
        Signer(encryption.decrypt(secret, purpose=PURPOSE)).sign(
            str(message_id), now, body.decode()
        )
        for secret in secrets
    ]
    # Both signatures cover id, timestamp and body, as Standard Webhooks says.
    signed = b".".join([str(message_id).encode(), str(int(now.timestamp())).encode(), body])
    signatures += [
        f"v1a,{base64.b64encode(key.sign(signed)).decode()}"
        for key in operations.signing_keys(webhook)
    ]
    return {
        "Content-Type": "application/json",
        "User-Agent": "orchestrator",
        "webhook-id": str(message_id),
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def send_test(webhook: Webhook, *, by: Actor) -> Outcome:
    """Send a test event, which is not in the trail, and return the answer; nothing is retried.

    Raises WebhookAdministratorsOnly.
    """
    operations.require_administrator(by)
    message_id = uuid4()
    data = {"event_id": message_id, "event_type": TEST_EVENT, "webhook": webhook.name}
    body = {"type": TEST_EVENT, "timestamp": datetime.now(UTC), "data": data}
    # A receiver may take TIMEOUT to answer: hold no connection meanwhile.
    release_connection()
    outcome = _send(webhook, message_id, orjson.dumps(body))
    log.info(
        "test delivery",
        webhook=webhook.name,
        status=outcome.status,
        milliseconds=outcome.milliseconds,
    )
    return outcome


def _send(webhook: Webhook, message_id: UUID, body: bytes) -> Outcome:
    began = time.monotonic()

    def took() -> int:
        return int((time.monotonic() - began) * 1000)

    try:
        answer = http_client.send(
            "POST",
            webhook.url,
            seconds=TIMEOUT,
            at_most=MAX_ANSWER,
            guard=settings.WEBHOOK_ALLOWED_NETWORKS,
            headers=build_headers(webhook, message_id, body, datetime.now(UTC)),
            content=body,
        )
    except DestinationRefused as refused:
        return Outcome(None, str(refused), took())
    except encryption.DecryptionFailed:
        return Outcome(None, "Its secret can't be read: SECRET_KEY changed. Rotate it.", took())
    except http_client.NoAnswer as error:
        return Outcome(None, str(error), took())
    after = answer.headers.get("Retry-After", "")
    # Only the form in seconds is read, and never longer than a day.
    wait = min(int(after), 86_400) if after.isascii() and after.isdigit() else 0
    text = answer.body.decode(errors="replace")
    if "Location" in answer.headers and 300 <= answer.status < 400:
        text = "It answered with a redirect, which is not followed."
    return Outcome(answer.status, text, took(), wait)


def _next_attempt_at(attempts: int, outcome: Outcome) -> datetime:
    # Jitter spreads the retries of many deliveries that failed together.
    pause = SCHEDULE[attempts].total_seconds() * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
    return clock() + timedelta(seconds=max(pause, outcome.retry_after))


def _save(
    delivery: Delivery, status: str, outcome: Outcome, next_at: datetime | None = None
) -> None:
    now = clock()
    delivery.status = status
    delivery.attempts += 1
    delivery.first_attempt_at = delivery.first_attempt_at or now
    delivery.attempted_at, delivery.next_attempt_at = now, next_at
    delivery.leased_until = None
    delivery.response_status, delivery.response = outcome.status, outcome.answer
    delivery.milliseconds = outcome.milliseconds
    if status == Delivery.Status.DELIVERED:
        delivery.delivered_at = now
    delivery.save()
    result = "retried" if status == Delivery.Status.WAITING else status
    log.info(
        "delivery",
        webhook=delivery.webhook.name,
        outcome=result,
        status=outcome.status,
        attempt=delivery.attempts,
        milliseconds=outcome.milliseconds,
    )


def _fails_for_long(webhook: Webhook) -> bool:
    """Whether all deliveries have failed for FAILING_FOR since the last success."""
    last = webhook.deliveries.aggregate(last=Max("delivered_at"))["last"]
    failing = webhook.deliveries.filter(delivered_at=None, first_attempt_at__isnull=False)
    if last:
        failing = failing.filter(first_attempt_at__gt=last)
    since = failing.aggregate(since=Min("first_attempt_at"))["since"]
    return since is not None and clock() - since > FAILING_FOR


def _deactivate(webhook: Webhook, operation: str, why: str) -> None:
    """Pause or disable ``webhook``, unless it was meanwhile, and hold its waiting deliveries."""
    if Webhook.objects.filter(pk=webhook.pk, status=Webhook.Status.ACTIVE).exists():
        getattr(operations, operation)(webhook.pk, by=ACTOR, why=why)
    webhook.deliveries.filter(status=Delivery.Status.WAITING).update(status=Delivery.Status.HELD)
