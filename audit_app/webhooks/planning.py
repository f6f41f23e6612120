"""Planning deliveries: a consumer of the trail stores them as rows and defers a job for each.

Deliveries are in order per webhook and subject: the jobs of both share a lock, and a job waits
while an earlier one with its lock is still retried.
"""

from collections.abc import Iterable

from django.db import connection
from django.db.models import QuerySet
from procrastinate.contrib.django import app

from audit_app.live.consumers import consumer
from audit_app.live.event_log import Cursor, cursor_of
from audit_app.models import Delivery, Event, Webhook

PURPOSE = "webhooks"
JOB = "deliver_webhook"
DELETE_JOBS = "DELETE FROM procrastinate_jobs WHERE lock = ANY(%s) AND status = 'todo'"


@consumer("webhooks")
def plan_deliveries(events: list[Event]) -> None:
    """Create a delivery of each event for each webhook whose filters match, and defer its job."""
    for webhook in Webhook.objects.exclude(status=Webhook.Status.DISABLED):
        deliveries = create_deliveries(webhook, [event for event in events if webhook.wants(event)])
        if webhook.status == Webhook.Status.ACTIVE:
            _defer(deliveries)


def create_deliveries(webhook: Webhook, events: Iterable[Event]) -> list[Delivery]:
    """Create deliveries of ``events``, which are in the trail's order, and return those not tried
    yet. They are held while the webhook is paused."""
    active = webhook.status == Webhook.Status.ACTIVE
    rows = [
        Delivery(
            webhook=webhook,
            event_id=event.pk,
            event_type=event.event_type,
            subject_id=event.subject_id,
            cursor=str(cursor_of(event)),
            status=Delivery.Status.WAITING if active else Delivery.Status.HELD,
        )
        for event in events
    ]
    # A replay may meet events that were planned before.
    Delivery.objects.bulk_create(rows, ignore_conflicts=True)
    ids = [row.event_id for row in rows]
    return list(webhook.deliveries.filter(event_id__in=ids, attempts=0).order_by("pk"))


def send_again(rows: "QuerySet[Delivery]") -> None:
    """Send ``rows`` again, in the trail's order, as if they had never been tried."""
    chosen = list(rows.select_for_update(of=("self",)))
    Delivery.objects.filter(pk__in=[row.pk for row in chosen]).update(
        status=Delivery.Status.WAITING, attempts=0, next_attempt_at=None, first_attempt_at=None
    )
    # A job that waits for its next attempt would block the new jobs of its lock, so its delivery is
    # sent now as well.
    locks = {_lock(row) for row in chosen}
    with connection.cursor() as cursor:
        cursor.execute(DELETE_JOBS, [list(locks)])
    waiting = Delivery.objects.filter(
        status=Delivery.Status.WAITING,
        webhook__in={row.webhook_id for row in chosen},
        subject_id__in={row.subject_id for row in chosen},
    )
    blocking = [row for row in waiting if _lock(row) in locks]
    _defer(sorted(blocking, key=lambda row: Cursor.parse(row.cursor)))


def _defer(rows: Iterable[Delivery]) -> None:
    for row in rows:
        app.configure_task(JOB, lock=_lock(row)).defer(delivery_id=row.pk)


def _lock(row: Delivery) -> str:
    return f"webhook:{row.webhook_id}:{row.subject_id}"
