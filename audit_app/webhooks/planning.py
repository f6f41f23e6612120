"""Planning deliveries: a consumer of the trail stores each as a row, for dispatcher.py to send.

Deliveries are in order per webhook and subject: a row waits while an earlier one of both waits.
"""

from collections.abc import Sequence

from django.db.models import QuerySet

from audit_app.live.consumers import consumer
from audit_app.live.event_log import cursor_of
from audit_app.models import Delivery, Event, Webhook

PURPOSE = "webhooks"


@consumer("webhooks")
def plan_deliveries(events: list[Event]) -> None:
    """Create a delivery of each event for each webhook whose filters match."""
    for webhook in Webhook.objects.exclude(status=Webhook.Status.DISABLED):
        wanted = [event for event in events if webhook.wants(event)]
        create_deliveries(webhook, wanted)
        # They keep their subject's order, so what is replayed of it no longer runs behind the rest.
        subjects = {event.subject_id for event in wanted}
        webhook.deliveries.replaying().filter(subject_id__in=subjects).update(replayed=False)


def create_deliveries(webhook: Webhook, events: Sequence[Event], *, replayed: bool = False) -> None:
    """Create deliveries of ``events``, held while the webhook is paused."""
    active = webhook.status == Webhook.Status.ACTIVE
    retried = webhook.deliveries.awaiting_retry({event.subject_id for event in events})
    due = dict(retried.values_list("subject_id", "next_attempt_at"))
    rows = [
        Delivery(
            webhook=webhook,
            event_id=event.pk,
            event_type=event.event_type,
            subject_id=event.subject_id,
            cursor=str(cursor_of(event)),
            status=Delivery.Status.WAITING if active else Delivery.Status.HELD,
            next_attempt_at=due.get(event.subject_id),
            replayed=replayed,
        )
        for event in events
    ]
    # A replay may meet events that were planned before.
    Delivery.objects.bulk_create(rows, ignore_conflicts=True)


def send_again(rows: "QuerySet[Delivery]", *, replayed: bool = False) -> None:
    """Send ``rows`` again, in the trail's order, as if they had never been tried.

    ``replayed``: behind what happens meanwhile.
    """
    chosen = list(rows.select_for_update(of=("self",)))
    live = [row.pk for row in chosen if row.status == Delivery.Status.WAITING and not row.replayed]
    anew = Delivery.objects.filter(pk__in=[row.pk for row in chosen])
    anew.exclude(pk__in=live).update(replayed=replayed)
    anew.update(
        status=Delivery.Status.WAITING, attempts=0, next_attempt_at=None, first_attempt_at=None
    )
    # What waits for its next attempt blocks the later ones of its subject, so it is sent now, too.
    Delivery.objects.filter(
        status=Delivery.Status.WAITING,
        webhook__in={row.webhook_id for row in chosen},
        subject_id__in={row.subject_id for row in chosen},
    ).update(next_attempt_at=None)
