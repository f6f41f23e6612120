"""What a reviewer's pages read: what waits for them, and everything about one decision."""

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import Count, Prefetch, Q, QuerySet
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Left
from django.utils import timezone

from approvals_app import policies
from approvals_app.models import Approval, Override, Vote
from audit_app import legible
from audit_app.actors import Actor
from audit_app.errors import OrchestratorError
from audit_app.legible import shortened
from audit_app.models import Event
from sessions_app.models import Task, TaskRevision

PAGE_SIZE = 20
COUNTED = 99
SENTENCE = 200
TRAIL_SHOWN = 100
AMOUNT = re.compile(r"-?[0-9][0-9., ]{0,20}")
CURRENCY = re.compile(r"[A-Za-z]{3}|[€$£¥]")
BULKY = ("data", "context", "payload", "description", "result", "error")


@dataclass(frozen=True, slots=True)
class Row:
    """One approval as the inbox shows it."""

    approval: Approval
    sentence: str
    amount: str

    @property
    def difference(self) -> list[tuple[str, str]]:
        """What the present revision changed; it is read when it is asked for."""
        return difference(Task.objects.get(pk=self.approval.task_id).all_revisions())


@dataclass(frozen=True, slots=True)
class Page:
    """One page of what waits; how many more there are is not counted."""

    rows: list[Row]
    number: int
    has_next: bool

    @property
    def previous_number(self) -> int:
        return self.number - 1

    @property
    def next_number(self) -> int:
        return self.number + 1


def page(actor: Actor, number: int) -> Page:
    """What waits for ``actor``, nearest deadline first: one query, and the payloads, which may be
    large, stay where they are."""
    begin = (number - 1) * PAGE_SIZE
    found = list(_found(actor)[begin : begin + PAGE_SIZE + 1])
    rows = [_row(approval) for approval in found[:PAGE_SIZE]]
    return Page(rows, number, has_next=len(found) > PAGE_SIZE)


def several(actor: Actor, ids: Iterable[UUID]) -> list[Row]:
    """Those of ``ids`` that ``actor`` may know of, in their order."""
    rows = _shown(Approval.objects.visible_to(actor).filter(pk__in=ids))
    found = {row.pk: row for row in rows}
    return [_row(found[pk]) for pk in ids if pk in found]


def overrides(actor: Actor) -> list[Override]:
    """What was approved alone, and has not been reviewed yet."""
    open_ones = Override.objects.visible_to(actor).filter(status=Override.Status.OPEN)
    return list(open_ones.select_related("opened_by", "task").order_by("review_due_at")[:10])


def delegates(actor: Actor) -> list[str]:
    """To whom a seat may well be given: people of the reader's own groups. Others can be named,
    too; who they are is not told."""
    people = User.objects.filter(is_active=True, is_staff=True, groups__name__in=actor.roles)
    names = people.exclude(pk=actor.id).order_by("username").values_list("username", flat=True)
    return list(names.distinct()[:200])


def waiting(actor: Actor) -> int:
    """How many approvals wait for ``actor``, counted up to COUNTED + 1."""
    counted: int = Approval.objects.waiting_for(actor)[: COUNTED + 1].count()
    return counted


def sentence(task: Task, said: str) -> str:
    """What the task will do, in the agent's words or, where it has none, in ours."""
    if said.strip():
        return shortened(said, SENTENCE)
    return f"{task.from_role} asks {task.to_role} for: {task.task_type.replace('_', ' ')}."


def amount(value: Any, currency: Any) -> str:
    """An amount that is obviously one, with its currency; else nothing."""
    if not AMOUNT.fullmatch(str(value)):
        return ""
    named = isinstance(currency, str) and CURRENCY.fullmatch(currency)
    return f"{value} {currency}" if named else str(value)


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


def difference(revisions: list[TaskRevision]) -> list[tuple[str, str]]:
    """What the last of ``revisions`` changed: lines with ``+``, ``-`` or a blank before them."""
    if len(revisions) < 2:
        return []
    before, after = (legible.pretty(r.read).splitlines() for r in revisions[-2:])
    return [(line[0], line[2:]) for line in difflib.ndiff(before, after) if line[0] != "?"]


def dossier(approval_id: UUID, actor: Actor) -> Dossier:
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


def _found(actor: Actor) -> "QuerySet[Approval]":
    return _shown(Approval.objects.waiting_for(actor))


def _shown(approvals: "QuerySet[Approval]") -> "QuerySet[Approval]":
    """``approvals`` with what a row shows of them."""
    said_yes = Count("votes", filter=Q(votes__status="cast", votes__choice="yes"))
    return (
        approvals.select_related("task__agent")
        .annotate(yes=said_yes)
        .defer(*(f"task__{name}" for name in BULKY))
        .annotate(
            said=Left("task__description", SENTENCE * 2),
            amount=KeyTextTransform("amount", "task__data"),
            currency=KeyTextTransform("currency", "task__data"),
        )
    )


def _row(found: Any) -> Row:
    return Row(found, sentence(found.task, found.said), amount(found.amount, found.currency))
