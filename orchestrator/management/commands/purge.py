"""Remove what is over for long; the trail keeps what happened."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser

from approvals_app import retention
from audit_app.actors import Actor
from audit_app.commands import BatchCommand, length_of_time


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
        return retention.purge(by=by, older_than=options["older_than"], batch_size=batch_size)
