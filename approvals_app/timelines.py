"""The trail of one thing, from its beginning: a trace, a session, a task, a person or an agent."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from approvals_app.models import Approval, Override, Vote
from audit_app.actors import Actor
from audit_app.errors import NotFound
from audit_app.models import Event
from sessions_app.models import AgentSession, Task

PAGE = 50
MOST_TASKS = 500
KINDS = ("session", "task", "approval", "vote", "override", "delegation", "agent", "refusal")
"""What events can be narrowed to: the kinds of their subjects."""


@dataclass(frozen=True, slots=True)
class Step:
    """One event, and how long after the one before it."""

    event: Event
    after: timedelta | None

    @property
    def details(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.event.entry)["metadata"]
        return found


@dataclass(frozen=True, slots=True)
class Timeline:
    """A page of it, the earliest first; ``earlier`` is where the page before it ends."""

    title: str
    steps: list[Step]
    earlier: int | None


def of_trace(trace_id: UUID, actor: Actor, **page: Any) -> Timeline:
    return _page(f"Trace {trace_id}", Q(trace_id=trace_id), actor, **page)


def of_task(task_id: UUID, actor: Actor, **page: Any) -> Timeline:
    """The task, its approvals, and what was said of them. Raises NotFound."""
    task = Task.objects.visible_to(actor).one(task_id)
    asked = Approval.objects.filter(task=task)
    ids = [
        task.pk,
        *asked.values_list("pk", flat=True),
        *Vote.objects.filter(approval__in=asked).values_list("pk", flat=True),
        *Override.objects.filter(task=task).values_list("pk", flat=True),
    ]
    return _page(f"Task {task.task_type}", Q(subject_id__in=ids), actor, **page)


def of_session(session_id: UUID, actor: Actor, **page: Any) -> Timeline:
    """The session, and the traces of what it asked for. Raises NotFound."""
    session = AgentSession.objects.visible_to(actor).one(session_id)
    tasks = Task.objects.filter(session=session).order_by("-created_at")[:MOST_TASKS]
    traces = {session.trace_id, *tasks.values_list("trace_id", flat=True)}
    return _page(f"Session {session}", Q(trace_id__in=traces), actor, **page)


def of_actor(kind: str, name: str, actor: Actor, **page: Any) -> Timeline:
    """What a person or an agent did; nothing, where there is none of that name."""
    if "\x00" in name:
        raise NotFound(what="timeline")
    return _page(f"{kind.capitalize()} {name}", Q(actor=f"{kind}:{name}"), actor, **page)


def states_of(events: "Sequence[Event] | QuerySet[Event]", subject_id: UUID) -> list[str]:
    """The states that a row went through, by its events, the first one first."""
    mine = (event for event in events if event.subject_id == subject_id and event.to_state)
    return [str(event.to_state) for event in mine]


def _page(title: str, what: Q, actor: Actor, *, before: int = 0, of: str = "") -> Timeline:
    events = Event.objects.filter(what).visible_to(actor)
    if of:
        events = events.filter(subject_type=of)
    if before:
        events = events.filter(position__lt=before)
    latest = list(events.order_by("-position")[: PAGE + 1])
    shown = latest[:PAGE][::-1]
    steps = [
        Step(event, event.timestamp - shown[index - 1].timestamp if index else None)
        for index, event in enumerate(shown)
    ]
    earlier = shown[0].position if len(latest) > PAGE else None
    return Timeline(title, steps, earlier)
