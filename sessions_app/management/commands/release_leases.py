"""Release tasks whose lease ran out."""

from collections.abc import Iterator
from typing import Any

from django.db.models.functions import Now

from audit_app.base.actors import Actor
from audit_app.commands import BatchCommand
from sessions_app import expiry
from sessions_app.models import Task


class Command(BatchCommand):
    help = "Release claimed tasks whose lease ran out, so that other agents can claim them."
    verb = ("release", "Released")
    counted = ("tasks",)

    def due(self, **options: Any) -> dict[str, int]:
        claimed = Task.objects.filter(status=Task.Status.CLAIMED, lease_expires_at__lt=Now())
        return {"tasks": claimed.count()}

    def batches(self, *, by: Actor, batch_size: int, **options: Any) -> Iterator[dict[str, int]]:
        for released in expiry.release_leases(by=by, batch_size=batch_size):
            yield {"tasks": released}
