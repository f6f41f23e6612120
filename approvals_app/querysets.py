"""Named reads of this floor."""

from typing import TYPE_CHECKING, Self
from uuid import UUID

from django.db.models import Q
from django.db.models.functions import Now

from audit_app.actors import Actor
from audit_app.errors import NotFound
from audit_app.querysets import SubjectQuerySet
from sessions_app.models import Task

if TYPE_CHECKING:
    from approvals_app.models import Approval


class ApprovalQuerySet(SubjectQuerySet["Approval"]):
    def visible_to(self, actor: Actor) -> Self:
        """Whoever sees a task sees all of its approvals."""
        if actor.auditor:
            return self
        tasks = Task.objects.visible_to(actor)
        asked = Q(approver_role__in=actor.roles) if actor.is_human else Q()
        return self.filter(asked | Q(task__in=tasks.values("pk")))

    def pending(self) -> Self:
        return self.filter(status=self.model.Status.PENDING)

    def waiting_for(self, actor: Actor) -> Self:
        """What ``actor`` is asked to decide and still can: oldest deadline first."""
        return (
            self.pending()
            .filter(approver_role__in=actor.roles, expires_at__gt=Now())
            .exclude(task__agent__owner_id=actor.id)
            .order_by("expires_at", "id")
        )

    def overdue(self) -> Self:
        return self.pending().filter(expires_at__lte=Now())

    def locked_with_task(self, pk: UUID) -> "Approval":
        """The row under its lock, with ``task`` locked before it: everyone locks in this order.

        Only of what this queryset holds: a stranger must not wait for the lock either, since that
        would tell of the row. Raises NotFound.
        """
        task = (
            Task.objects.filter(pk__in=self.filter(pk=pk).values("task_id"))
            .select_related("agent")
            .select_for_update(no_key=True, of=("self",))
            .first()
        )
        if task is None:
            raise NotFound(what="approval")
        approval = self.locked(pk)
        approval.task = task
        return approval
