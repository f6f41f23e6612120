"""Remove finished rows past retention; the trail keeps their events."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandParser
from django.utils import timezone

from approvals_app.decisions import retention
from audit_app.base.actors import Actor
from audit_app.commands import BatchCommand, length_of_time
from audit_app.models import Delivery
from audit_app.trail.operation import clock
from orchestrator.models import RateLimit
from orchestrator.web.throttling import WINDOW_SECONDS


class Command(BatchCommand):
    help = (
        "Remove finished tasks with their approvals, finished sessions that no remaining task "
        "refers to, and stored answers past IDEMPOTENCY_TTL_SECONDS. Never audit events."
    )
    verb = ("remove", "Removed")
    counted = retention.KINDS

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--older-than",
            type=length_of_time,
            default=timedelta(days=90),
            help="unchanged for this long (90d)",
        )

    def due(self, **options: Any) -> dict[str, int]:
        return retention.count_old(older_than=options["older_than"])

    def batches(self, *, by: Actor, batch_size: int, **options: Any) -> Iterator[dict[str, int]]:
        _purge_unaudited()
        yield from retention.purge(by=by, older_than=options["older_than"], batch_size=batch_size)


def _purge_unaudited() -> None:
    """Delete rows that need no event: expired browser sessions, old rate limits, old deliveries."""
    call_command("clearsessions")
    finished = (Delivery.Status.DELIVERED, Delivery.Status.FAILED)
    cutoff = timezone.now() - timedelta(days=settings.WEBHOOK_LOG_DAYS)
    Delivery.objects.filter(created_at__lt=cutoff, status__in=finished).delete()
    # A minute far ahead is left over from a clock that was set back.
    this_minute = int(clock().timestamp() // WINDOW_SECONDS)
    RateLimit.objects.exclude(window__range=(this_minute - 1, this_minute + 1)).delete()
