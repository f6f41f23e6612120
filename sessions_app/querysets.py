"""Named reads of this floor."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from django.apps import apps
from django.db.models import Q
from django.db.models.functions import Now

from audit_app.actors import Actor
from audit_app.prepared import Prepared, attach
from audit_app.querysets import SubjectQuerySet

if TYPE_CHECKING:
    from sessions_app.models import Agent, AgentSession, Task  # noqa: F401  # forward references


class AgentQuerySet(SubjectQuerySet["Agent"]):
    def visible_to(self, actor: Actor) -> Self:
        """An agent sees itself, a person the agents that they own."""
        if actor.auditor:
            return self
        if actor.is_agent:
            return self.filter(pk=actor.id)
        return self.filter(owner_id=actor.id)


class SessionQuerySet(SubjectQuerySet["AgentSession"]):
    def visible_to(self, actor: Actor) -> Self:
        """An agent sees its own sessions, a reviewer those whose tasks they can see."""
        if actor.auditor:
            return self
        if actor.is_agent:
            return self.filter(agent_id=actor.id)
        task: Any = self.model._meta.get_field("tasks").related_model
        tasks = task.objects.visible_to(actor).filter(session__isnull=False)
        return self.filter(pk__in=tasks.values("session_id"))

    def overdue(self, older_than: timedelta) -> Self:
        """Open sessions that have not changed for ``older_than``."""
        return self.filter(status__in=self.model.OPEN, updated_at__lt=Now() - older_than)


class TaskQuerySet(SubjectQuerySet["Task"]):
    def visible_to(self, actor: Actor) -> Self:
        """An agent sees the tasks it routed and those addressed to its roles; a reviewer those
        addressed to their roles and those that ask for their voice."""
        if actor.auditor:
            return self
        addressed = Q(to_role__in=actor.roles)
        if actor.is_agent:
            return self.filter(addressed | Q(agent_id=actor.id))
        approvals: Any = self.model._meta.get_field("approvals").related_model
        asked = approvals.objects.asking(actor)
        return self.filter(addressed | Q(pk__in=asked.values("task_id")))

    def of_session(self, session: "AgentSession") -> Self:
        """The tasks that this session routed, claimed, or says that it works on.

        One row per idempotency key, since a caller's key is unique among its tasks.
        """
        mine = Q(session=session) | Q(claimed_session=session)
        with suppress(ValueError):  # it may work on something that is not a task of ours
            mine |= Q(pk=UUID(session.task_id or ""))
        return self.filter(mine)


def read_approvals(tasks: "Sequence[Task]") -> None:
    """What a task's shape on the wire needs of the floor above, for all of ``tasks`` at once."""
    if not tasks:
        return
    ids = [task.pk for task in tasks]
    approvals = _approvals(tasks=ids)
    attach(tasks, "approvals", approvals, "task_id")
    attach(approvals, "votes", _votes(tasks=ids) if approvals else (), "approval_id")


def _approvals_of(tasks: list[UUID]) -> Any:
    approvals: Any = apps.get_model("approvals_app", "Approval").objects
    return approvals.filter(task__in=tasks).select_related("decided_by").order_by()


def _votes_of(tasks: list[UUID]) -> Any:
    votes: Any = apps.get_model("approvals_app", "Vote").objects
    return votes.filter(approval__task__in=tasks).select_related("voter", "seat_of")


_approvals: Prepared[Any] = Prepared(_approvals_of)
_votes: Prepared[Any] = Prepared(_votes_of)
