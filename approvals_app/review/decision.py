"""What the page of one decision shows."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import Prefetch, QuerySet, prefetch_related_objects
from django.utils import timezone

from approvals_app.decisions import aliases, eligibility, voters
from approvals_app.decisions.recall import check_may_recall
from approvals_app.models import Approval, Vote
from approvals_app.payload import renderers
from approvals_app.payload.diffs import Line, diff_lines, diff_tasks
from approvals_app.payload.headline import format_amount
from approvals_app.payload.summary import Summary, summarize_text
from approvals_app.review.inbox import summarize_task
from approvals_app.review.timelines import filter_visible, list_states
from audit_app.base import text_safety
from audit_app.base.actors import Actor
from audit_app.base.errors import OrchestratorError
from audit_app.base.events import EventType
from audit_app.base.prepared import Prepared
from audit_app.models import Event
from audit_app.ui.state_diagram import StateDiagram, build_state_diagram
from sessions_app.models import AgentSession, Task
from sessions_app.querysets import of_known_tasks

MAX_EVENTS = 100
MAX_SIMILAR = 5
RECENT_TASKS = 500
COMPARED_FIELDS = ("description", "data", "context")
LARGE = 100_000
"""Bytes of a payload above which the page shows it once, and not as JSON and as bytes too."""
DECIDED_STATES = ("approved", "rejected", "expired")
APPROVED_STATES = ("approved", "claimed", "completed", "failed")


@dataclass(frozen=True, slots=True)
class Successor:
    """What took the place of an approval that is no longer waited for.

    ``what`` is revised, recalled or escalated; ``by`` is who did it, "" where time did. ``waiting``
    is the approval to look at now; None: nothing waits any more.
    """

    what: str
    by: str
    at: datetime
    reason: str
    waiting: Approval | None


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """What the page of one decision shows.

    ``payload`` is parsed from the text whose digest is ``payload_digest``, so that a vote approves
    exactly what is shown. ``obstacle`` says why the reader can't decide; None: they can.
    ``recall_refusal`` says why they can't recall it. ``successor`` is what waits instead.
    ``difference`` is what the present revision changed. ``similar`` are the latest decisions on
    tasks of the same type and agent, and ``last_approved`` is the last such task that was approved.
    ``undecidable`` are those of the approvals that too few people may decide now.
    """

    approval: Approval
    payload: dict[str, Any]
    payload_digest: str
    others: list[Approval]
    trail: list[Event]
    trail_is_longer: bool
    obstacle: OrchestratorError | None
    difference: list[Line]
    similar: list[Approval]
    last_approved: Task | None
    undecidable: list[voters.Undecidable]
    successor: Successor | None
    recall_refusal: OrchestratorError | None

    @property
    def can_recall(self) -> bool:
        """Whether the reader can take back what this approval approved."""
        return self.approval.status == Approval.Status.APPROVED and self.recall_refusal is None

    @property
    def session_ended(self) -> bool:
        """Whether the session that asks is over although its task still waits or is unused."""
        session = self.task.session
        unfinished = (Task.Status.AWAITING_APPROVAL, Task.Status.APPROVED)
        return (
            session is not None
            and session.status not in AgentSession.OPEN
            and self.task.status in unfinished
        )

    @property
    def rendering(self) -> renderers.Rendering:
        """The payload, rendered for its task type."""
        return renderers.render(self.payload["task_type"], self.payload)

    @property
    def facts(self) -> Summary:
        """What the payload asks for, in a few facts."""
        return summarize_text(self.task.payload)

    @property
    def is_large(self) -> bool:
        """Whether the page only links to the payload's JSON and bytes."""
        return len(self.task.payload_bytes) > LARGE

    @property
    def machine(self) -> StateDiagram:
        """The states of the task, the present one highlighted."""
        return build_state_diagram(self.task, list_states(self.trail, self.task.pk))

    @property
    def suspicious(self) -> text_safety.SuspiciousText:
        """What in the agent's text may deceive the reader."""
        return text_safety.find_suspicious([self.payload, self.approval.reason])

    @property
    def changes_since_last_approved(self) -> list[Line]:
        """What differs from ``last_approved``; [] where there is none."""
        if self.last_approved is None:
            return []
        before = json.loads(self.last_approved.payload)
        before, now = ({n: each[n] for n in COMPARED_FIELDS} for each in (before, self.payload))
        return diff_lines(before, now)

    @property
    def current(self) -> list[Approval]:
        """This approval and those decided together with it: same revision, same override."""
        together = [self.approval, *self.others]
        same = [a for a in together if a.override_id == self.approval.override_id]
        return sorted(
            (a for a in same if a.revision == self.approval.revision),
            key=lambda a: (a.created_at, str(a.pk)),
        )

    @property
    def earlier_approvals(self) -> list[Approval]:
        """Approvals of other revisions, and those given before an override's review."""
        current = {a.pk for a in self.current}
        return [a for a in self.others if a.pk not in current]

    def vote_of(self, actor: Actor) -> Vote | None:
        """The vote that ``actor`` already cast, and can withdraw while the approval is pending."""
        votes = self.approval.votes_cast
        return next((vote for vote in votes if str(vote.voter_id) == actor.id), None)

    @property
    def task(self) -> Task:
        return self.approval.task

    @property
    def is_requester_unknown(self) -> bool:
        """Whether nobody here has, or had, the name that the agent asks on behalf of."""
        return not aliases.is_known(self.task.on_behalf_of)

    @property
    def summary(self) -> str:
        return summarize_task(self.task, self.payload["description"])

    @property
    def full_description(self) -> str:
        """The agent's description; "" where ``summary`` already shows all of it."""
        description: str = self.payload["description"]
        return "" if description == self.summary else description

    @property
    def amount(self) -> str:
        data = self.payload["data"]
        return (
            format_amount(data.get("amount"), data.get("currency"))
            if isinstance(data, dict)
            else ""
        )


def load_decision(approval_id: UUID, actor: Actor) -> DecisionContext:
    """Load one decision for ``actor``. Raises NotFound where they may not see the approval."""
    related = ("task__agent__owner", "task__session", "task__edited_by", "override__opened_by")
    visible = Approval.objects.visible_to(actor).select_related(
        *related, "decided_by", "requested_by"
    )
    approval: Approval = visible.one(approval_id)
    task = approval.task
    others, similar = _load_related(approval, actor)
    # All votes in one query, however many approvals the task has.
    votes = Prefetch("votes", Vote.objects.select_related("voter", "seat_of"))
    prefetch_related_objects([approval, *others], votes)
    latest = _query_events(actor, trace_id=task.trace_id)
    pending = [each.pk for each in (approval, *others) if each.status == Approval.Status.PENDING]
    return DecisionContext(
        approval=approval,
        payload=json.loads(task.payload),
        payload_digest=task.payload_digest,
        others=others,
        trail=latest[:MAX_EVENTS][::-1],
        trail_is_longer=len(latest) > MAX_EVENTS,
        obstacle=_find_obstacle(approval, actor),
        difference=diff_tasks([task.pk]).get(task.pk, []) if task.revision > 1 else [],
        similar=similar,
        last_approved=_find_last_approved(task, actor),
        successor=_find_successor(approval, others),
        recall_refusal=_find_recall_refusal(approval, actor),
        undecidable=list(voters.find_undecidable(pending).values()),
    )


def _latest_events(actor: Actor, trace_id: UUID) -> "QuerySet[Event]":
    """The newest events of a trace that ``actor`` may see, one more than are shown."""
    events = Event.objects.filter(trace_id=trace_id).order_by("-position")
    return filter_visible(events, actor)[: MAX_EVENTS + 1]


# Compiled once: every decision page runs this query.
_query_events: Prepared[Event] = Prepared(_latest_events)


def _load_related(approval: Approval, actor: Actor) -> tuple[list[Approval], list[Approval]]:
    """The other approvals of the task, oldest first; and the latest decisions on tasks of the same
    type among the agent's recent ones, newest first."""
    # One UNION instead of two statements: every reviewer loads this page for every decision.
    candidates = Approval.objects.select_related("decided_by", "override").exclude(pk=approval.pk)
    others = candidates.filter(task=approval.task_id).order_by()
    decided = (
        candidates.filter(
            of_known_tasks(actor, "task"), task__in=_recent_similar_tasks(approval.task)
        )
        .filter(override=None, status__in=DECIDED_STATES)
        .exclude(task=approval.task_id)
        .order_by("-updated_at")[:MAX_SIMILAR]
    )
    approvals: list[Approval] = list(others.union(decided, all=True))
    return (
        sorted(
            (each for each in approvals if each.task_id == approval.task_id),
            key=lambda each: (each.created_at, str(each.pk)),
        ),
        sorted(
            (each for each in approvals if each.task_id != approval.task_id),
            key=lambda each: each.updated_at,
            reverse=True,
        ),
    )


def _find_last_approved(task: Task, actor: Actor) -> Task | None:
    """The last approved task of this type and agent that ``actor`` may see."""
    others = Task.objects.filter(
        of_known_tasks(actor), pk__in=_recent_similar_tasks(task), status__in=APPROVED_STATES
    )
    return others.exclude(pk=task.pk).only("payload", "created_at").order_by("-created_at").first()


def _recent_similar_tasks(task: Task) -> "QuerySet[Any]":
    """The ids of the agent's RECENT_TASKS that are of the same type."""
    # An agent may have millions of tasks and none of this type: bound the scan.
    latest = Task.objects.filter(agent=task.agent_id).order_by("-created_at", "-id")[:RECENT_TASKS]
    return Task.objects.filter(pk__in=latest.values("pk"), task_type=task.task_type).values("pk")


def _find_obstacle(approval: Approval, actor: Actor) -> OrchestratorError | None:
    """The error that ``actor`` would get by deciding now; None: they can decide."""
    try:
        eligibility.voting_seat(approval, actor, timezone.now())
    except OrchestratorError as refusal:
        return refusal
    return None


def _find_recall_refusal(approval: Approval, actor: Actor) -> OrchestratorError | None:
    """The error that ``actor`` would get by recalling; None: they can, or nothing was approved."""
    if approval.status != Approval.Status.APPROVED:
        return None
    try:
        check_may_recall(approval, actor)
    except OrchestratorError as refusal:
        return refusal
    return None


def _find_successor(approval: Approval, others: list[Approval]) -> Successor | None:
    """What took the place of ``approval``; ``others`` are the other approvals of its task."""
    if approval.status == Approval.Status.PENDING:
        return None
    pending = [
        each
        for each in others
        if each.status == Approval.Status.PENDING and each.override_id is None
    ]
    # Whoever is sent on decides for the same group, if it is asked.
    pending.sort(key=lambda each: each.approver_role != approval.approver_role)
    waiting = pending[0] if pending else None
    if approval.escalated_to_id and approval.revision == approval.task.revision:
        return Successor("escalated", "", approval.updated_at, "", waiting)
    # Each of these events ended one revision, so that they are counted as revisions are.
    ended = Event.objects.filter(
        subject_type=approval.task.subject_type,
        subject_id=approval.task_id,
        event_type__in=(EventType.TASK_REVISED, EventType.TASK_RECALLED),
    ).order_by("seq")
    for event in ended[approval.revision - 1 : approval.revision]:
        reason = event.metadata.get("reason", "") or event.metadata.get("notes", "")
        _, what = event.event_type.split(".")
        _, _, by = event.actor.partition(":")
        return Successor(what, by, event.timestamp, reason, waiting)
    return None


def list_delegates(actor: Actor) -> list[str]:
    """Usernames to suggest as delegates: active staff in the actor's own groups."""
    # Others can be named too, but their names are not disclosed.
    people = User.objects.filter(is_active=True, is_staff=True, groups__name__in=actor.roles)
    names = people.exclude(pk=actor.id).order_by("username").values_list("username", flat=True)
    return list(names.distinct()[:200])
