"""What a reviewer's pages read: what waits for them, and everything about one decision."""

import json
import re
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Left
from django.utils import timezone

from approvals_app import policies
from approvals_app.models import Approval
from audit_app.actors import Actor
from audit_app.errors import OrchestratorError
from audit_app.legible import shortened
from audit_app.models import Event
from sessions_app.models import Task

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


def dossier(approval_id: UUID, actor: Actor) -> Dossier:
    """Raises NotFound where ``actor`` may not know of the approval."""
    related = ("task__agent__owner", "task__session", "decided_by", "requested_by")
    visible = Approval.objects.visible_to(actor).select_related(*related)
    approval: Approval = visible.one(approval_id)
    task = approval.task
    others = task.approvals.exclude(pk=approval.pk).select_related("decided_by")
    events = Event.objects.filter(trace_id=task.trace_id).visible_to(actor)
    latest = list(events.order_by("-position")[: TRAIL_SHOWN + 1])
    return Dossier(
        approval=approval,
        payload=json.loads(task.payload),
        payload_digest=task.payload_digest,
        others=list(others.order_by("created_at", "id")),
        trail=latest[:TRAIL_SHOWN][::-1],
        trail_is_longer=len(latest) > TRAIL_SHOWN,
        obstacle=_obstacle(approval, actor),
    )


def _obstacle(approval: Approval, actor: Actor) -> OrchestratorError | None:
    """What the decision would be refused with if it were made now."""
    try:
        policies.seat_of(approval, actor, timezone.now())
    except OrchestratorError as refusal:
        return refusal
    return None


def _found(actor: Actor) -> "QuerySet[Approval]":
    waiting: QuerySet[Approval] = Approval.objects.waiting_for(actor)
    return (
        waiting.select_related("task__agent")
        .defer(*(f"task__{name}" for name in BULKY))
        .annotate(
            said=Left("task__description", SENTENCE * 2),
            amount=KeyTextTransform("amount", "task__data"),
            currency=KeyTextTransform("currency", "task__data"),
        )
    )


def _row(found: Any) -> Row:
    return Row(found, sentence(found.task, found.said), amount(found.amount, found.currency))
