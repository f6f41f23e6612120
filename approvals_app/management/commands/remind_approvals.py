"""Remind people of decisions that are due soon."""

from collections.abc import Iterator
from typing import Any

from django.db.models.functions import Now

from approvals_app.decisions import deadlines
from approvals_app.models import Approval
from audit_app.base.actors import Actor
from audit_app.commands import BatchCommand


class Command(BatchCommand):
    help = "Remind by e-mail the people whose decision is due soon, when the policy says."
    verb = ("remind of", "Reminded of")
    counted = ("approvals",)

    def due(self, **options: Any) -> dict[str, int]:
        return {"approvals": Approval.objects.pending().filter(remind_at__lte=Now()).count()}

    def batches(self, *, by: Actor, batch_size: int, **options: Any) -> Iterator[dict[str, int]]:
        for count in deadlines.remind(by=by, batch_size=batch_size):
            yield {"approvals": count}
