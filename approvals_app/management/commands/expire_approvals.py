"""Apply passed deadlines: of decisions, and of approved tasks that nobody claimed."""

from collections.abc import Iterator
from typing import Any

from django.db.models.functions import Now

from approvals_app.decisions import deadlines
from approvals_app.models import Approval
from audit_app.base.actors import Actor
from audit_app.commands import BatchCommand
from sessions_app.expiry import expire_approved
from sessions_app.models import Task


class Command(BatchCommand):
    help = (
        "Apply the timeout action of each overdue approval: expire it with its task, escalate it, "
        "or approve it. Expire approved tasks that nobody claimed in time."
    )
    verb = ("expire", "Expired")
    counted = ("approvals", "tasks")

    def due(self, **options: Any) -> dict[str, int]:
        unused = Task.objects.filter(
            status=Task.Status.APPROVED, approved_until__lt=Now(), consumed_by=None
        )
        return {"approvals": Approval.objects.overdue().count(), "tasks": unused.count()}

    def batches(self, *, by: Actor, batch_size: int, **options: Any) -> Iterator[dict[str, int]]:
        for count in deadlines.expire_approvals(by=by, batch_size=batch_size):
            yield {"approvals": count}
        for count in expire_approved(by=by, batch_size=batch_size):
            yield {"tasks": count}
