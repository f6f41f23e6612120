"""What the page of one decision shows."""

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import Exists, F, OuterRef, Prefetch, QuerySet, prefetch_related_objects
from django.utils import timezone

from approvals_app.decisions import aliases, eligibility, voters
from approvals_app.decisions.recall import check_may_recall
from approvals_app.models import Approval, Delegation, Override, Vote
from approvals_app.payload import renderers
from approvals_app.payload.diffs import Line, diff_payloads
from approvals_app.payload.sensitive import find_sensitive, mask, may_be_sensitive
from approvals_app.payload.summary import Summary, summarize_text
from approvals_app.review import first_screen
from approvals_app.review.attention import annotate_attention
from approvals_app.review.first_screen import (
    Change,
    Consequence,
    EditNote,
    GlassBroken,
    Tally,
    Title,
)
from approvals_app.review.history import (
    Duplicates,
    Headline,
    describe_task,
    find_duplicates,
    with_text,
)
from approvals_app.review.timelines import filter_visible
from audit_app.base import text_safety
from audit_app.base.actors import Actor
from audit_app.base.errors import OrchestratorError
from audit_app.base.events import EventType
from audit_app.base.prepared import Prepared
from audit_app.models import Event
from sessions_app.models import AgentSession, Freeze, Task, TaskRevision
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
    is_by_agent: bool = False
    role: str = ""
    """The group that was asked next, where time did."""


@dataclass(frozen=True)
class DecisionContext:
    """What the page of one decision shows.

    ``payload`` is parsed from the text whose digest is ``payload_digest``, so that a vote approves
    exactly what is shown; its ``sensitive`` values, this many, are masked. ``obstacle`` says why
    the reader can't decide; None: they can, for ``seat_of``, another's username, or for themselves.
    ``delegation`` is the reader's own of this approval. ``recall_refusal`` says why they can't
    recall it. ``successor`` is what waits instead. ``difference`` is what the present revision
    changed, and ``changes`` its simple values. ``duplicates`` are earlier requests about the same
    order, invoice, account or resource. ``similar`` are the latest decisions on tasks of the same
    type and agent, and ``last_approved`` is the last such task that was approved. ``undecidable``
    are those of the approvals that too few people may decide now.
    """

    approval: Approval
    payload: dict[str, Any]
    payload_digest: str
    others: list[Approval]
    trail: list[Event]
    trail_is_longer: bool
    obstacle: OrchestratorError | None
    seat_of: str
    difference: list[Line]
    changes: list[Change]
    delegation: "OwnDelegation | None"
    similar: list[Approval]
    last_approved: Task | None
    undecidable: list[voters.Undecidable]
    successor: Successor | None
    recall_refusal: OrchestratorError | None
    sensitive: int
    duplicates: list[Duplicates]

    @property
    def can_recall(self) -> bool:
        """Whether the reader can take back what this approval approved."""
        return self.approval.status == Approval.Status.APPROVED and self.recall_refusal is None

    @property
    def similar_requests(self) -> list[tuple[Approval, Headline]]:
        """``similar``, each with what its task was about."""
        described: list[Any] = self.similar
        return [(each, describe_task(each.task, each.text)) for each in described]

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
        return renderers.render(self.payload["task_type"], self.payload, self.facts)

    @cached_property
    def facts(self) -> Summary:
        """What the payload asks for, in a few facts."""
        return summarize_text(self.task.payload)

    @property
    def is_large(self) -> bool:
        """Whether the page only links to the payload's JSON and bytes."""
        return len(self.task.payload_bytes) > LARGE

    @cached_property
    def title(self) -> Title:
        return first_screen.write_title(self.task, self.payload, self.facts)

    @property
    def words(self) -> str:
        """What the agent wrote, where the title does not show all of it."""
        description: str = self.payload["description"]
        return "" if description.strip() == self.title.text else description

    @property
    def risk_reason(self) -> str:
        return first_screen.explain_risk(self.task, self.facts)

    @property
    def is_overdue(self) -> bool:
        """Whether the deadline has passed, and nothing has followed from it yet."""
        approval = self.approval
        return approval.status == Approval.Status.PENDING and approval.expires_at <= timezone.now()

    @property
    def consequence(self) -> Consequence:
        """What happens if nobody decides in time."""
        votes = [vote for each in self.current for vote in each.votes_cast]
        return first_screen.find_consequence(self.approval, votes)

    @property
    def validity(self) -> str:
        """For how long a task that is approved may be claimed, in words."""
        return first_screen.say_length(first_screen.find_validity(self.current))

    @cached_property
    def tallies(self) -> list[Tally]:
        """The votes of each group that decides."""
        return first_screen.count_votes(
            each for each in self.current if each.status not in ("expired", "withdrawn")
        )

    @property
    def change_requests(self) -> list[Vote]:
        """The votes that keep everybody from approving."""
        if self.approval.status != Approval.Status.PENDING:
            return []
        votes = [vote for each in self.current for vote in each.votes_cast]
        return [vote for vote in votes if vote.choice == Vote.Choice.CHANGES]

    @property
    def glass_broken(self) -> GlassBroken | None:
        """The break glass that this approval reviews, or that approved it."""
        together = [self.approval, *self.others]
        reviews = [a for a in together if a.override_id and a.revision == self.approval.revision]
        if not reviews or not reviews[0].override:
            return None
        tallies = first_screen.count_votes(reviews)
        upheld, needed = sum(t.count for t in tallies), sum(a.needed for a in reviews)
        return GlassBroken(reviews[0].override, upheld, needed)

    @property
    def edit_note(self) -> EditNote | None:
        """What a reviewer changed, and why, where the present revision is theirs."""
        if not self.difference or self.task.edited_by is None:
            return None
        revised = [
            event
            for event in self.trail
            if event.event_type == EventType.TASK_REVISED and event.subject_id == self.task.pk
        ]
        notes = revised[-1].metadata.get("notes", "") if revised else ""
        return EditNote(self.task.edited_by.username, self.changes, notes)

    @property
    def suspicious(self) -> text_safety.SuspiciousText:
        """What in the agent's text may deceive the reader."""
        # Without a requester, the reason is a policy's.
        reason = self.approval.reason if self.approval.requested_by_id else ""
        return text_safety.find_suspicious([self.payload, reason])

    @property
    def changes_since_last_approved(self) -> list[Line]:
        """What differs from ``last_approved``; [] where there is none."""
        if self.last_approved is None:
            return []
        payloads = map(json.loads, (self.last_approved.payload, self.task.payload))
        before, now = ({n: each[n] for n in COMPARED_FIELDS} for each in payloads)
        return diff_payloads(before, now)

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

    def voted_as(self, actor: Actor) -> str:
        """The group for which ``actor`` voted in this decision, on another approval; "" if none."""
        votes = [vote for each in self.current for vote in each.votes_cast]
        own = (vote.role for vote in votes if str(vote.voter_id) == actor.id)
        return next(own, "")

    def other_seats(self, actor: Actor) -> list[Approval]:
        """The approvals of the same decision on which ``actor`` could vote instead."""
        return [
            each
            for each in self.current
            if each.pk != self.approval.pk
            and each.status == Approval.Status.PENDING
            and each.approver_role in actor.roles
        ]

    @property
    def task(self) -> Task:
        return self.approval.task

    @property
    def is_requester_unknown(self) -> bool:
        """Whether nobody here has, or had, the name that the agent asks on behalf of."""
        return not aliases.is_known(self.task.on_behalf_of)


@dataclass(frozen=True, slots=True)
class OwnDelegation:
    """That the reader lets ``delegate``, a username, vote on this approval for them."""

    pk: UUID
    delegate: str


def load_decision(approval_id: UUID, actor: Actor) -> DecisionContext:
    """Load one decision for ``actor``. Raises NotFound where they may not see the approval."""
    related = ("task__agent__owner", "task__session", "task__edited_by", "override__opened_by")
    visible = Approval.objects.visible_to(actor).select_related(
        *related, "decided_by", "requested_by"
    )
    # Beside the approval, so that no page sends one statement more.
    own = Delegation.objects.in_force().filter(approval=OuterRef("pk"), delegator=int(actor.id))
    visible = annotate_attention(visible, actor).annotate(
        delegation=own.values("pk")[:1],
        delegate=own.values("delegate__username")[:1],
        something_is_frozen=Exists(Freeze.objects.filter(status=Freeze.Status.ACTIVE)),
    )
    approval: Approval = visible.one(approval_id)
    task = approval.task
    others, similar = _load_related(approval, actor)
    # All votes in one query, however many approvals the task has.
    votes = Prefetch("votes", Vote.objects.select_related("voter", "seat_of"))
    prefetch_related_objects([approval, *others], votes)
    obstacle, seat_of = _find_seat(approval, actor)
    duplicates = find_duplicates(task, actor)
    latest = _query_events(actor, trace_id=task.trace_id)
    pending = [each.pk for each in (approval, *others) if each.status == Approval.Status.PENDING]
    payload, before = json.loads(task.payload), _load_payload_before(task)
    sensitive = len(find_sensitive(payload)) if may_be_sensitive(task.payload) else 0
    return DecisionContext(
        approval=approval,
        payload=mask(payload) if sensitive else payload,
        sensitive=sensitive,
        duplicates=duplicates,
        payload_digest=task.payload_digest,
        others=others,
        trail=latest[:MAX_EVENTS][::-1],
        trail_is_longer=len(latest) > MAX_EVENTS,
        obstacle=obstacle,
        seat_of=seat_of,
        difference=[] if before is None else diff_payloads(before, payload),
        changes=[]
        if before is None
        else first_screen.list_changes(mask(before), mask(payload, before)),
        delegation=_read_delegation(approval),
        similar=similar,
        last_approved=_find_last_approved(task, actor),
        successor=_find_successor(approval, others),
        recall_refusal=_find_recall_refusal(approval, actor),
        undecidable=list(voters.find_undecidable(pending).values()),
    )


def _read_delegation(approval: Any) -> OwnDelegation | None:
    """The reader's delegation that was read beside ``approval``."""
    found = approval.delegation
    return OwnDelegation(found, approval.delegate) if found else None


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
    alone = Override.objects.filter(task=OuterRef("task"), revision=OuterRef("revision"))
    related = Approval.objects.select_related("decided_by", "override__opened_by", "task")
    related = related.annotate(was_alone=Exists(alone))
    candidates = with_text(related.exclude(pk=approval.pk), "task")
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
        of_known_tasks(actor),
        pk__in=_recent_similar_tasks(task),
        status__in=APPROVED_STATES,
        erasure__isnull=True,
    )
    return others.exclude(pk=task.pk).only("payload", "created_at").order_by("-created_at").first()


def _recent_similar_tasks(task: Task) -> "QuerySet[Any]":
    """The ids of the agent's RECENT_TASKS that are of the same type."""
    # An agent may have millions of tasks and none of this type: bound the scan.
    latest = Task.objects.filter(agent=task.agent_id).order_by("-created_at", "-id")[:RECENT_TASKS]
    return Task.objects.filter(pk__in=latest.values("pk"), task_type=task.task_type).values("pk")


def _find_seat(approval: Approval, actor: Actor) -> tuple[OrchestratorError | None, str]:
    """The error that ``actor`` would get by deciding now, or None; and the username of whom they
    would decide for, or "" for themselves."""
    try:
        seat = eligibility.voting_seat(approval, actor, timezone.now())
    except OrchestratorError as refusal:
        return refusal, ""
    return None, "" if str(seat) == actor.id else User.objects.get(pk=seat).get_username()


def _load_payload_before(task: Task) -> dict[str, Any] | None:
    """The payload that the present revision of ``task`` replaced; None where that is the same."""
    if task.revision == 1:
        return None
    before = TaskRevision.objects.filter(task=task, number=F("task__revision") - 1)
    changed = before.exclude(payload_digest=task.payload_digest)
    payload = changed.values_list("payload", flat=True).first()
    return None if payload is None else json.loads(payload)


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
        role = next((a.approver_role for a in others if a.pk == approval.escalated_to_id), "")
        return Successor("escalated", "", approval.updated_at, "", waiting, role=role)
    # Each of these events ended one revision, so that they are counted as revisions are.
    ended = Event.objects.filter(
        subject_type=approval.task.subject_type,
        subject_id=approval.task_id,
        event_type__in=(EventType.TASK_REVISED, EventType.TASK_RECALLED),
    ).order_by("seq")
    for event in ended[approval.revision - 1 : approval.revision]:
        reason = event.metadata.get("reason", "") or event.metadata.get("notes", "")
        _, what = event.event_type.split(".")
        kind, _, by = event.actor.partition(":")
        return Successor(what, by, event.timestamp, reason, waiting, kind == "agent")
    return None


@dataclass(frozen=True, slots=True)
class Delegate:
    """Somebody who could decide instead. ``is_away``: another stands in for them now."""

    username: str
    is_away: bool


def list_delegates(actor: Actor) -> list[Delegate]:
    """Whom to suggest as delegates: active staff in the actor's own groups."""
    # Others can be named too, but their names are not disclosed.
    people = User.objects.filter(is_active=True, is_staff=True, groups__name__in=actor.roles)
    absences = Delegation.objects.in_force().filter(delegator=OuterRef("pk"), approval=None)
    rows = people.exclude(pk=actor.id).order_by("username").annotate(away=Exists(absences))
    return [Delegate(*row) for row in rows.values_list("username", "away").distinct()[:200]]
