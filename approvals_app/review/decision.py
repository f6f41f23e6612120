"""Everything about one decision, as its page shows it."""

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import Prefetch, QuerySet, prefetch_related_objects
from django.utils import timezone

from approvals_app.decisions import eligibility
from approvals_app.models import Approval, Vote
from approvals_app.payload import renderers
from approvals_app.payload.diffs import Line, diff_lines, diff_tasks
from approvals_app.review.inbox import amount, sentence
from approvals_app.review.timelines import known_among, states_of
from audit_app.base import text_safety
from audit_app.base.actors import Actor
from audit_app.base.errors import OrchestratorError
from audit_app.base.prepared import Prepared
from audit_app.models import Event
from audit_app.ui.state_diagram import Machine, machine
from sessions_app.models import Task
from sessions_app.querysets import of_known_tasks

TRAIL_SHOWN = 100
BEFORE = 5
LOOKED_BACK = 500
SHOWN = ("description", "data", "context")
DECIDED = ("approved", "rejected", "expired")
APPROVED = ("approved", "claimed", "completed", "failed")


@dataclass(frozen=True, slots=True)
class Dossier:
    """Everything about one decision, as it is shown.

    ``payload`` is read from the text whose digest is ``payload_digest``, so that nothing else than
    what is shown can be approved with it. ``obstacle`` says why the reader can't decide; None: they
    can. ``difference`` is what the present revision changed.
    """

    approval: Approval
    payload: dict[str, Any]
    payload_digest: str
    others: list[Approval]
    trail: list[Event]
    trail_is_longer: bool
    obstacle: OrchestratorError | None
    difference: list[Line]
    before: list[Approval]
    last_time: Task | None

    @property
    def drawing(self) -> renderers.Rendering:
        """What it will do, by its kind."""
        return renderers.render(self.payload["task_type"], self.payload)

    @property
    def machine(self) -> Machine:
        """The states of the task, the present one lit."""
        return machine(self.task, states_of(self.trail, self.task.pk))

    @property
    def findings(self) -> text_safety.Findings:
        """What in the agent's words looks or speaks otherwise than it seems."""
        return text_safety.findings([self.payload, self.approval.reason])

    @property
    def since_last_time(self) -> list[Line]:
        """What differs from the last task of this type by this agent that was approved."""
        if self.last_time is None:
            return []
        before = json.loads(self.last_time.payload)
        before, now = ({n: each[n] for n in SHOWN} for each in (before, self.payload))
        return diff_lines(before, now)

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
    others, before = _beside(approval, actor)
    votes = Prefetch("votes", Vote.objects.select_related("voter", "seat_of"))
    prefetch_related_objects([approval, *others], votes)
    latest = _trail(actor, trace_id=task.trace_id)
    return Dossier(
        approval=approval,
        payload=json.loads(task.payload),
        payload_digest=task.payload_digest,
        others=others,
        trail=latest[:TRAIL_SHOWN][::-1],
        trail_is_longer=len(latest) > TRAIL_SHOWN,
        obstacle=_obstacle(approval, actor),
        difference=diff_tasks([task.pk]).get(task.pk, []) if task.revision > 1 else [],
        before=before,
        last_time=_last_time(task, actor),
    )


def _latest_of(actor: Actor, trace_id: UUID) -> "QuerySet[Event]":
    """The latest of what happened in a trace, of which ``actor`` may know."""
    events = Event.objects.filter(trace_id=trace_id).order_by("-position")
    return known_among(events, actor)[: TRAIL_SHOWN + 1]


_trail: Prepared[Event] = Prepared(_latest_of)


def _beside(approval: Approval, actor: Actor) -> tuple[list[Approval], list[Approval]]:
    """The other approvals of the task, oldest first; and the last decisions on what this agent
    asked of this kind, among its latest tasks, newest first. One statement for both."""
    every = Approval.objects.select_related("decided_by", "override").exclude(pk=approval.pk)
    others = every.filter(task=approval.task_id).order_by()
    decided = (
        every.filter(of_known_tasks(actor, "task"), task__in=_latest(approval.task))
        .filter(override=None, status__in=DECIDED)
        .exclude(task=approval.task_id)
        .order_by("-updated_at")[:BEFORE]
    )
    found: list[Approval] = list(others.union(decided, all=True))
    return (
        sorted(
            (each for each in found if each.task_id == approval.task_id),
            key=lambda each: (each.created_at, str(each.pk)),
        ),
        sorted(
            (each for each in found if each.task_id != approval.task_id),
            key=lambda each: each.updated_at,
            reverse=True,
        ),
    )


def _last_time(task: Task, actor: Actor) -> Task | None:
    """The last task like this one that was approved, of those that ``actor`` may read."""
    others = Task.objects.filter(of_known_tasks(actor), pk__in=_latest(task), status__in=APPROVED)
    return others.exclude(pk=task.pk).only("payload", "created_at").order_by("-created_at").first()


def _latest(task: Task) -> "QuerySet[Any]":
    """The ids of the tasks of one type among an agent's latest, so that nobody waits for a look
    through all that it ever asked."""
    latest = Task.objects.filter(agent=task.agent_id).order_by("-created_at", "-id")[:LOOKED_BACK]
    return Task.objects.filter(pk__in=latest.values("pk"), task_type=task.task_type).values("pk")


def _obstacle(approval: Approval, actor: Actor) -> OrchestratorError | None:
    """What the decision would be refused with if it were made now."""
    try:
        eligibility.voting_seat(approval, actor, timezone.now())
    except OrchestratorError as refusal:
        return refusal
    return None


def delegates(actor: Actor) -> list[str]:
    """To whom a seat may well be given: people of the reader's own groups. Others can be named,
    too; who they are is not told."""
    people = User.objects.filter(is_active=True, is_staff=True, groups__name__in=actor.roles)
    names = people.exclude(pk=actor.id).order_by("username").values_list("username", flat=True)
    return list(names.distinct()[:200])
