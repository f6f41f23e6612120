"""Named reads of this floor."""

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from django.core.cache import cache
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from audit_app.base.actors import Actor
from audit_app.querysets import FEW, SubjectQuerySet, related_manager, there_is
from sessions_app.gate import approval_gate

if TYPE_CHECKING:
    from sessions_app.models import Agent, AgentSession, Freeze, Task  # noqa: F401  # forward references


MANY_FOR = 60
"""Seconds for which somebody who knows of many tasks is taken to know of many still."""


class AgentQuerySet(SubjectQuerySet["Agent"]):
    def visible_to(self, actor: Actor) -> Self:
        """An agent sees itself, a person the agents that they own."""
        if actor.auditor:
            return self
        if actor.is_agent:
            return self.filter(pk=actor.id)
        return self.filter(owner_id=actor.id)


class FreezeQuerySet(SubjectQuerySet["Freeze"]):
    def visible_to(self, actor: Actor) -> Self:
        """Auditors see them. Reviewers are told of those that concern them, and agents when they
        claim."""
        return self if actor.auditor else self.none()

    def concerning(self, actor: Actor) -> Self:
        """Those that a reviewer is told of at their inbox: of everything and of their roles."""
        theirs = Q(scope="everything") | Q(role__in=actor.roles)
        return self if actor.auditor else self.filter(theirs)

    def active(self) -> Self:
        """Those that are not lifted, newest first."""
        return self.filter(status="active").select_related("agent").order_by("-created_at")


class SessionQuerySet(SubjectQuerySet["AgentSession"]):
    def visible_to(self, actor: Actor) -> Self:
        """An agent sees its own sessions, a reviewer those whose tasks they can see."""
        if actor.auditor:
            return self
        if actor.is_agent:
            return self.filter(agent_id=actor.id)
        tasks = related_manager(self, "tasks").visible_to(actor).filter(session=OuterRef("pk"))
        return self.filter(Exists(tasks))

    def looked_up(self, actor: Actor) -> Self:
        if actor.auditor or not actor.is_human:
            return self.visible_to(actor)
        tasks = related_manager(self, "tasks").looked_up(actor).filter(session__isnull=False)
        return self.filter(pk__in=tasks.order_by().values("session_id").distinct())

    def overdue(self, older_than: timedelta) -> Self:
        """Open sessions that have not changed for ``older_than``."""
        return self.filter(status__in=self.model.OPEN, updated_at__lt=Now() - older_than)


class TaskQuerySet(SubjectQuerySet["Task"]):
    def visible_to(self, actor: Actor) -> Self:
        """An agent sees the tasks it routed and those addressed to its roles; a reviewer those
        addressed to their roles and those that ask for their voice."""
        return self if actor.auditor else self.filter(of_known_tasks(actor))

    def looked_up(self, actor: Actor) -> Self:
        return self if actor.auditor else self.filter(pk__in=self.ids_known_to(actor))

    def ids_known_to(self, actor: Actor, most: int = 2 * FEW) -> Any:
        """Those of the tasks of ``visible_to``, some of them twice; of each way to know of one no
        more than ``most``, so that PostgreSQL too expects few."""
        tasks: Any = self.model.objects
        addressed = tasks.filter(to_role__in=actor.roles).values("pk")
        if actor.is_agent:
            others = [tasks.filter(agent_id=actor.id).values("pk")]
        else:
            asking = approval_gate().approvals_asking_by_way(actor)
            others = [rows.values("task_id") for rows in asking]
        first, *others = (way.order_by()[:most] for way in (addressed, *others))
        return first.union(*others, all=True)

    def are_few(self, actor: Actor, most: int) -> bool:
        """Whether ``actor`` knows of no more than ``most``. That somebody knows of more is believed
        for a while, since it says how rows are found, and not which."""
        name = f"knows-many:{actor.kind}:{actor.id}:{most}"
        if cache.get(name, False):
            return False
        are_few = bool(self.ids_known_to(actor, most + 1).count() <= most)
        if not are_few:
            cache.set(name, True, MANY_FOR)
        return are_few

    def of_session(self, session: "AgentSession") -> Self:
        """The tasks that this session routed, claimed, or says that it works on.

        One row per idempotency key, since a caller's key is unique among its tasks.
        """
        mine = Q(session=session) | Q(claimed_session=session)
        with suppress(ValueError):  # it may work on something that is not a task of ours
            mine |= Q(pk=UUID(session.task_id or ""))
        return self.filter(mine)


def of_known_tasks(actor: Actor, task: str = "") -> Q:
    """The rows whose task ``actor`` may know of, asked of each row by itself.

    ``task`` leads from a row to its task; empty, the rows are tasks.
    """
    if actor.auditor:
        return Q(pk__isnull=False)
    before = f"{task}__" if task else ""
    addressed = Q(**{f"{before}to_role__in": actor.roles})
    if actor.is_agent:
        return addressed | Q(**{f"{before}agent_id": actor.id})
    asking = approval_gate().approvals_asking(actor)
    asked = asking.filter(task=OuterRef(f"{task}_id" if task else "pk"))
    return addressed | Q(there_is(asked))
