"""What waits for a reviewer, as their inbox lists it."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Count, F, Q, QuerySet
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Left

from approvals_app.models import Approval, Override
from audit_app import legible
from audit_app.actors import Actor
from audit_app.legible import shortened
from sessions_app.models import Task, TaskRevision

PAGE_SIZE = 20
COUNTED = 99
SENTENCE = 200
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


def difference(revisions: list[TaskRevision]) -> list[tuple[str, str]]:
    """What the last of ``revisions`` changed: lines with ``+``, ``-`` or a blank before them."""
    if len(revisions) < 2:
        return []
    before, after = (legible.pretty(r.read).splitlines() for r in revisions[-2:])
    return [(line[0], line[2:]) for line in difflib.ndiff(before, after) if line[0] != "?"]


def _found(actor: Actor) -> "QuerySet[Approval]":
    return _shown(Approval.objects.waiting_for(actor))


def _shown(approvals: "QuerySet[Approval]") -> "QuerySet[Approval]":
    """``approvals`` with what a row shows of them."""
    said_yes = Count(
        "votes",
        distinct=True,
        filter=Q(
            votes__status="cast",
            votes__choice="yes",
            votes__voter__is_active=True,
            votes__seat_of__is_active=True,
            votes__seat_of__groups__name=F("approver_role"),
        ),
    )
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
