"""Everything about one decision, as its page shows it."""

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import Prefetch
from django.utils import timezone

from approvals_app import policies
from approvals_app.inbox import amount, difference, sentence
from approvals_app.models import Approval, Vote
from audit_app.actors import Actor
from audit_app.errors import OrchestratorError
from audit_app.models import Event
from sessions_app.models import Task, TaskRevision

TRAIL_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Dossier:
    """Everything about one decision, as it is shown.

    ``payload`` is read from the text whose digest is ``payload_digest``, so that nothing else than
    what is shown can be approved with it. ``obstacle`` says why the reader can't decide; None: they
    can.
    """

    approval: Approval
    payload: dict[str, Any]
    payload_digest: str
    others: list[Approval]
    trail: list[Event]
    trail_is_longer: bool
    obstacle: OrchestratorError | None
    revisions: list[TaskRevision]

    @property
    def asked(self) -> list[Approval]:
        """This approval and those that are decided on together with it."""
        together = [self.approval, *self.others]
        same = [a for a in together if a.override_id == self.approval.override_id]
        return sorted(
            (a for a in same if a.revision == self.approval.revision),
            key=lambda a: (a.created_at, str(a.pk)),
        )

    @property
    def earlier(self) -> list[Approval]:
        """Approvals of other revisions, or given before a review."""
        asked = {a.pk for a in self.asked}
        return [a for a in self.others if a.pk not in asked]

    @property
    def difference(self) -> list[tuple[str, str]]:
        """What the present revision changed."""
        return difference(self.revisions)

    def voice_of(self, actor: Actor) -> Vote | None:
        """What ``actor`` said already, and can take back while the approval is pending."""
        votes = self.approval.votes_cast
        return next((vote for vote in votes if str(vote.voter_id) == actor.id), None)

    @property
    def task(self) -> Task:
        return self.approval.task

    @property
    def sentence(self) -> str:
        return sentence(self.task, self.payload["description"])

    @property
    def said(self) -> str:
        """The agent's own words, where ``sentence`` is not already all of them."""
        description: str = self.payload["description"]
        return "" if description == self.sentence else description

    @property
    def amount(self) -> str:
        data = self.payload["data"]
        return amount(data.get("amount"), data.get("currency")) if isinstance(data, dict) else ""


def read(approval_id: UUID, actor: Actor) -> Dossier:
    """Raises NotFound where ``actor`` may not know of the approval."""
    related = ("task__agent__owner", "task__session", "task__edited_by", "override__opened_by")
    visible = Approval.objects.visible_to(actor).select_related(
        *related, "decided_by", "requested_by"
    )
    approval: Approval = visible.one(approval_id)
    task = approval.task
    votes = Prefetch("votes", Vote.objects.select_related("voter", "seat_of"))
    others = task.approvals.exclude(pk=approval.pk).select_related("decided_by", "override")
    events = Event.objects.filter(trace_id=task.trace_id).visible_to(actor)
    latest = list(events.order_by("-position")[: TRAIL_SHOWN + 1])
    return Dossier(
        approval=approval,
        payload=json.loads(task.payload),
        payload_digest=task.payload_digest,
        others=list(others.prefetch_related(votes).order_by("created_at", "id")),
        trail=latest[:TRAIL_SHOWN][::-1],
        trail_is_longer=len(latest) > TRAIL_SHOWN,
        obstacle=_obstacle(approval, actor),
        revisions=task.all_revisions() if task.revision > 1 else [],
    )


def _obstacle(approval: Approval, actor: Actor) -> OrchestratorError | None:
    """What the decision would be refused with if it were made now."""
    try:
        policies.seat_of(approval, actor, timezone.now())
    except OrchestratorError as refusal:
        return refusal
    return None


def delegates(actor: Actor) -> list[str]:
    """To whom a seat may well be given: people of the reader's own groups. Others can be named,
    too; who they are is not told."""
    people = User.objects.filter(is_active=True, is_staff=True, groups__name__in=actor.roles)
    names = people.exclude(pk=actor.id).order_by("username").values_list("username", flat=True)
    return list(names.distinct()[:200])
