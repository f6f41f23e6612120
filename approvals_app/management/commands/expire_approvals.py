"""End approvals whose deadline passed."""

from collections.abc import Iterator
from typing import Any

from approvals_app import expiry
from approvals_app.models import Approval
from audit_app.actors import Actor
from audit_app.commands import BatchCommand


class Command(BatchCommand):
    help = "Expire pending approvals whose deadline passed, and the tasks that wait for them."
    verb = ("expire", "Expired")
    counted = ("approvals",)

    def due(self, **options: Any) -> dict[str, int]:
        return {"approvals": Approval.objects.overdue().count()}

    def batches(self, *, by: Actor, batch_size: int, **options: Any) -> Iterator[dict[str, int]]:
        for expired in expiry.expire_approvals(by=by, batch_size=batch_size):
            yield {"approvals": expired}
