"""What a reviewer reads before deciding. No HTTP here."""

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from approvals_app import policies
from approvals_app.models import Approval
from audit_app.actors import Actor
from audit_app.errors import OrchestratorError
from audit_app.models import Event
from sessions_app.models import Task

EVENTS_SHOWN = 100


def waiting_for(actor: Actor) -> "QuerySet[Approval]":
    """What ``actor`` is asked to decide, nearest deadline first, with what a row shows."""
    return Approval.objects.waiting_for(actor).select_related("task__agent")


def sentence(task: Task) -> str:
    """What the task will do, in the agent's words or, where it has none, in ours."""
    return task.description or f"{task.from_role} asks {task.to_role} for: {task.task_type}."


def amount(task: Task) -> str:
    """The amount that the payload names at its top, with its currency; empty where it has none."""
    data = task.data if isinstance(task.data, dict) else {}
    value, currency = data.get("amount"), data.get("currency")
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return ""
    return f"{value} {currency}" if isinstance(currency, str) else str(value)


@dataclass(frozen=True, slots=True)
class Decision:
    """One approval as its decision page shows it."""

    approval: Approval
    task: Task
    why_not: str
    others: list[Approval]
    events: list[Event]
    more_events: bool

    @property
    def sentence(self) -> str:
        return sentence(self.task)

    @property
    def amount(self) -> str:
        return amount(self.task)

    @property
    def fields(self) -> list[tuple[str, Any]]:
        return [("What it does", self.task.data), ("Around it", self.task.context)]


def decision(approval: Approval, actor: Actor) -> Decision:
    """Everything that the page shows; ``why_not`` is empty when ``actor`` can decide."""
    task = approval.task
    try:
        policies.may_decide(approval, actor, timezone.now())
        why_not = ""
    except OrchestratorError as error:
        why_not = str(error)
    events = list(
        Event.objects.visible_to(actor)
        .filter(trace_id=task.trace_id)
        .order_by("position")[: EVENTS_SHOWN + 1]
    )
    others = task.approvals.exclude(pk=approval.pk).select_related("decided_by")
    return Decision(
        approval,
        task,
        why_not,
        list(others.order_by("created_at")),
        events[:EVENTS_SHOWN],
        len(events) > EVENTS_SHOWN,
    )
