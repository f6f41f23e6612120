"""Named reads of this floor."""

from functools import cache, reduce
from operator import or_
from typing import TYPE_CHECKING, Any, ClassVar, Self
from uuid import UUID

from django.contrib.auth.models import Group
from django.db.models import BooleanField, Case, F, Func, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Now

from audit_app.base.actors import Actor
from audit_app.base.errors import NotFound
from audit_app.base.prepared import Prepared
from audit_app.querysets import S, SubjectQuerySet, related_manager, there_is
from sessions_app.models import Task
from sessions_app.querysets import of_known_tasks

if TYPE_CHECKING:
    from approvals_app.models import (  # noqa: F401  # forward references
        Approval,
        ApprovalPolicy,
        Comment,
        Delegation,
        Override,
        Passkey,
        Vote,
    )


TIER = Case(
    When(override__isnull=False, then=Value(0)), When(risk="high", then=Value(1)), default=Value(2)
)
RISK = Case(When(risk="high", then=Value(0)), When(risk="low", then=Value(2)), default=Value(1))
# With what makes them unique, or PostgreSQL would sort all that waits to find the first twenty.
URGENCY_IN_TIER = ("expires_at", RISK, "created_at", "id")
"""How the inbox orders what is in one TIER; the index approvals_urgency has both."""


class _OfTaskQuerySet(SubjectQuerySet[S]):
    """Whoever sees a task sees all that belongs to it."""

    task: ClassVar[str] = "task"
    """What leads from a row to its task."""

    def visible_to(self, actor: Actor) -> Self:
        return self if actor.auditor else self.filter(of_known_tasks(actor, self.task))

    def looked_up(self, actor: Actor) -> Self:
        if actor.auditor:
            return self
        return self.filter(**{f"{self.task}__in": Task.objects.ids_known_to(actor)})


class _IsOpen(Func):
    """Whether anybody may vote on an approval of that status, deadline and override."""

    template = "approval_obstacle(%(expressions)s) IS NULL"
    output_field = BooleanField()


class _MayVote(Func):
    """Whether a person, by their id, has a seat in which they may vote on an approval, by these
    columns: seat_obstacles() says so."""

    columns = (
        "pk",
        "task_id",
        "revision",
        "override_id",
        "requested_by_id",
        "approver_role",
        "status",
        "expires_at",
    )
    template = (
        "EXISTS (SELECT FROM seat_obstacles(%(expressions)s) AS voting WHERE voting.code IS NULL)"
    )
    output_field = BooleanField()


class ApprovalQuerySet(_OfTaskQuerySet["Approval"]):
    def visible_to(self, actor: Actor) -> Self:
        if actor.auditor:
            return self
        # The first is had from the row itself, and is most often so.
        return self.filter(_asking_filter(self, actor) | of_known_tasks(actor, "task"))

    def asking(self, actor: Actor) -> Self:
        """Those of which ``actor`` may be one of the voices: by a group, or in another's seat."""
        return self.filter(_asking_filter(self, actor))

    def asking_in_ways(self, actor: Actor) -> list[Self]:
        """``asking``, each way to be asked by itself: PostgreSQL finds each by its index."""
        return [self.filter(way) for way in _ways_to_be_asked(self, actor)]

    def pending(self) -> Self:
        return self.filter(status=self.model.Status.PENDING)

    def blocking(self) -> Self:
        """Those that a task waits for, as against those that review an override."""
        return self.filter(override=None)

    def open_to_votes(self) -> Self:
        """Those on which somebody may still vote."""
        return self.pending().filter(_IsOpen(F("status"), F("expires_at"), F("override_id")))

    def waiting_for(self, actor: Actor, among: Q | None = None) -> Self:
        """What ``actor`` is asked to decide and still can, nearest deadline first: one row for each
        task, in which they have one vote however many of its groups they are in.

        ``among``: only of the approvals that match.
        """
        if not actor.is_human:
            return self.none()
        among = among or Q()
        everything: Any = self.model.objects.all()
        # All that is pending of a task is one decision.
        other = Q(expires_at__lt=OuterRef("expires_at")) | Q(
            expires_at=OuterRef("expires_at"), approver_role__lt=OuterRef("approver_role")
        )
        sooner = everything._open_to(actor).filter(among, other, task=OuterRef("task"))
        waiting = self._open_to(actor).filter(among, ~Q(there_is(sooner)))
        return waiting.order_by("expires_at", "id")

    def not_snoozed_by(self, actor: Actor) -> Self:
        """Those that ``actor`` did not set aside until later."""
        return self.filter(~Q(there_is(self._snoozes_of(actor))))

    def snoozed_by(self, actor: Actor) -> Self:
        """Those that ``actor`` set aside until later."""
        return self.filter(Q(there_is(self._snoozes_of(actor))))

    def _snoozes_of(self, actor: Actor) -> "QuerySet[Any]":
        snoozes: QuerySet[Any] = related_manager(self, "snoozes")
        return snoozes.filter(approval=OuterRef("pk"), user_id=actor.id, until__gt=Now())

    def _open_to(self, actor: Actor) -> Self:
        """Those on which ``actor`` may vote."""
        # What asks for them is found by indexes; seat_obstacles() is asked of what is left.
        may_vote = _MayVote(*_MayVote.columns, Value(int(actor.id)))
        return self.pending().asking(actor).filter(may_vote)

    def overdue(self) -> Self:
        return self.pending().blocking().filter(expires_at__lte=Now())

    def lock_visible_with_task(self, actor: Actor, pk: UUID) -> "Approval":
        """The row that ``actor`` may know of under its lock, with ``task`` locked before it:
        everyone locks in this order. Prepared.

        A stranger must not wait for the lock either, since that would tell of the row. Raises
        NotFound, and Busy as ``lock``.
        """
        for approval in _locked_with_task(self.model)(actor, pk=pk):
            return approval
        raise NotFound(what="approval")


class VoteQuerySet(_OfTaskQuerySet["Vote"]):
    task = "approval__task"

    def cast(self) -> Self:
        return self.filter(status=self.model.Status.CAST)

    def in_one_decision(self, task: UUID, revision: int, override: UUID | None) -> Self:
        """The votes that count together: on the same payload, for the same purpose. A yes to an
        approval that was given up counts no more; what speaks against the task does, whoever is
        asked instead."""
        return (
            self.cast()
            .filter(
                approval__task=task,
                approval__revision=revision,
                approval__override=override,
            )
            .exclude(approval__status="expired", choice="yes")
            .order_by("created_at", "id")
        )


class CommentQuerySet(_OfTaskQuerySet["Comment"]):
    task = "approval__task"


class DelegationQuerySet(SubjectQuerySet["Delegation"]):
    def visible_to(self, actor: Actor) -> Self:
        if actor.auditor:
            return self
        if not actor.is_human:
            return self.none()
        return self.filter(Q(delegator_id=actor.id) | Q(delegate_id=actor.id))

    def in_force(self) -> Self:
        """Those by which somebody may vote now."""
        return self.filter(
            Q(ends_at__isnull=True) | Q(ends_at__gt=Now()),
            status=self.model.Status.ACTIVE,
            starts_at__lte=Now(),
        )


class PasskeyQuerySet(SubjectQuerySet["Passkey"]):
    def visible_to(self, actor: Actor) -> Self:
        if actor.auditor:
            return self
        return self.filter(user_id=actor.id) if actor.is_human else self.none()

    def active(self) -> Self:
        return self.filter(status=self.model.Status.ACTIVE)


class OverrideQuerySet(_OfTaskQuerySet["Override"]):
    def overdue(self) -> Self:
        """Those that nobody reviewed in time."""
        return self.filter(status=self.model.Status.OPEN, review_due_at__lte=Now())


class PolicyQuerySet(SubjectQuerySet["ApprovalPolicy"]):
    def visible_to(self, actor: Actor) -> Self:
        """People who work here may know the rules; agents are told of one when it judged them."""
        return self if actor.is_human or actor.auditor else self.none()

    def active(self) -> Self:
        return self.filter(status=self.model.Status.ACTIVE)


@cache
def _locked_with_task(model: "type[Approval]") -> Prepared["Approval"]:
    def build(actor: Actor, pk: UUID) -> "QuerySet[Approval]":
        # PostgreSQL takes the locks in the order in which they are named.
        return (
            model.objects.visible_to(actor)
            .filter(pk=pk)
            .order_by()
            .select_related("task__agent")
            .select_for_update(no_key=True, of=("task", "self"))
        )

    return Prepared(build)


def _asking_filter(approvals: ApprovalQuerySet, actor: Actor) -> Q:
    """Which approvals ask for ``actor``'s voice."""
    return reduce(or_, _ways_to_be_asked(approvals, actor))


def _ways_to_be_asked(approvals: ApprovalQuerySet, actor: Actor) -> list[Q]:
    """In one's groups; in somebody's seat while they are away; in somebody's seat once."""
    if not actor.is_human:
        return [Q(pk__in=[])]
    in_force = related_manager(approvals, "delegations").in_force()
    delegations = in_force.filter(delegate_id=actor.id)
    groups = Group.objects.filter(
        user__in=delegations.filter(approval=None).values("delegator_id"), user__is_active=True
    )
    return [
        Q(approver_role__in=actor.roles),
        Q(approver_role__in=groups.values("name")),
        Q(pk__in=delegations.filter(approval__isnull=False).values("approval_id")),
    ]
