"""Expire idle sessions."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from audit_app.base.actors import Actor
from audit_app.commands import BatchCommand, length_of_time
from sessions_app import expiry
from sessions_app.models import AgentSession


class Command(BatchCommand):
    help = "Expire pending and active sessions that have not changed for a while."
    verb = ("expire", "Expired")
    counted = ("sessions",)

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--older-than",
            type=length_of_time,
            default=settings.SESSION_RETENTION,
            help="unchanged for this long, for example 7d (SESSION_RETENTION_DAYS)",
        )

    def due(self, **options: Any) -> dict[str, int]:
        return {"sessions": AgentSession.objects.overdue(options["older_than"]).count()}

    def batches(self, *, by: Actor, batch_size: int, **options: Any) -> Iterator[dict[str, int]]:
        for expired in expiry.expire_sessions(
            by=by, older_than=options["older_than"], batch_size=batch_size
        ):
            yield {"sessions": expired}
