"""Remove what is over for long; the trail keeps what happened."""

import time
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
from orchestrator.models import RateLimit
from orchestrator.web.throttling import WINDOW_SECONDS


class Command(BatchCommand):
    help = (
        "Remove finished tasks with their approvals, finished sessions that no remaining task "
        "refers to, and receipts of requests past IDEMPOTENCY_TTL_SECONDS. Never audit events."
    )
    verb = ("remove", "Removed")
    counted = retention.KINDS

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--older-than",
            type=length_of_time,
            default=timedelta(days=90),
            help="what has not changed for this long (90d)",
        )

    def due(self, **options: Any) -> dict[str, int]:
        return retention.count_old(older_than=options["older_than"])

    def batches(self, *, by: Actor, batch_size: int, **options: Any) -> Iterator[dict[str, int]]:
        _purge_unaudited()
        yield from retention.purge(by=by, older_than=options["older_than"], batch_size=batch_size)


def _purge_unaudited() -> None:
    """What keeps nobody's work: sign-ins that are over, limits of earlier minutes, and what
    webhooks were told long ago."""
    call_command("clearsessions")
    over = (Delivery.Status.DELIVERED, Delivery.Status.FAILED)
    past = timezone.now() - timedelta(days=settings.WEBHOOK_LOG_DAYS)
    Delivery.objects.filter(created_at__lt=past, status__in=over).delete()
    this_minute = int(time.time() // WINDOW_SECONDS)
    RateLimit.objects.filter(window__lt=this_minute - 1).delete()
