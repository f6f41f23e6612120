"""The trail of one thing, from its beginning: a trace, a session, a task, a person or an agent."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from approvals_app.models import Approval, Override, Vote
from audit_app.base.actors import Actor
from audit_app.base.errors import NotFound
from audit_app.models import Event
from audit_app.ui.state_diagram import StateDiagram, build_state_diagram, list_past_states
from sessions_app.models import AgentSession, Task
from sessions_app.querysets import of_known_tasks

PAGE = 50
MOST_TASKS = 500
LOOKED_THROUGH = 2_000
"""Among how many events one page is looked for, so that nobody waits for a look through all that
an agent ever did for others."""

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
    """A page of it, the earliest first; ``earlier`` is where the page before it ends.

    It holds fewer where most of what is LOOKED_THROUGH is not the reader's to see. ``machine``: the
    states of the one task or session that it is of.
    """

    title: str
    steps: list[Step]
    earlier: int | None
    machine: StateDiagram | None = None


def of_trace(trace_id: UUID, actor: Actor, **page: Any) -> Timeline:
    return _page(f"Trace {trace_id}", Q(trace_id=trace_id), actor, **page)


def of_task(task_id: UUID, actor: Actor, **page: Any) -> Timeline:
    """The task, its approvals, and what was said of them: whoever sees the one sees the others.
    Raises NotFound."""
    task = Task.objects.filter(of_known_tasks(actor)).only("task_type", "status").one(task_id)
    asked = Approval.objects.filter(task=task)
    ids = [
        task.pk,
        *asked.values_list("pk", flat=True),
        *Vote.objects.filter(approval__in=asked).values_list("pk", flat=True),
        *Override.objects.filter(task=task).values_list("pk", flat=True),
    ]
    found = _page(f"Task {task.task_type}", Q(subject_id__in=ids), None, **page)
    return replace(found, machine=build_state_diagram(task, list_past_states(task)))


def of_session(session_id: UUID, actor: Actor, **page: Any) -> Timeline:
    """The session, and the traces of what it asked for. Raises NotFound."""
    session: AgentSession = AgentSession.objects.one(session_id)
    if not (actor.auditor or _asked_in(session, actor)):
        raise NotFound(what="session")
    tasks = Task.objects.filter(session=session).order_by("-created_at")[:MOST_TASKS]
    traces = {session.trace_id, *tasks.values_list("trace_id", flat=True)}
    found = _page(f"Session {session}", Q(trace_id__in=traces), actor, **page)
    return replace(found, machine=build_state_diagram(session, list_past_states(session)))


def of_actor(kind: str, name: str, actor: Actor, **page: Any) -> Timeline:
    """What a person or an agent did; nothing, where there is none of that name."""
    if "\x00" in name:
        raise NotFound(what="timeline")
    return _page(f"{kind.capitalize()} {name}", Q(actor=f"{kind}:{name}"), actor, **page)


def states_of(events: "Sequence[Event] | QuerySet[Event]", subject_id: UUID) -> list[str]:
    """The states that a row went through, by its events, the first one first."""
    mine = (event for event in events if event.subject_id == subject_id and event.to_state)
    return [str(event.to_state) for event in mine]


def known_among(events: "QuerySet[Event]", actor: Actor) -> "QuerySet[Event]":
    """Of the first LOOKED_THROUGH of ``events``, those that ``actor`` may know of, latest first."""
    if actor.auditor:
        return events
    near = events.values("pk")[:LOOKED_THROUGH]
    return Event.objects.filter(pk__in=near).visible_to(actor).order_by("-position")


def _asked_in(session: AgentSession, actor: Actor) -> bool:
    """``visible_to`` of one session: PostgreSQL, which expects many tasks of a session, would read
    all approvals there are."""
    addressed = Task.objects.filter(session=session, to_role__in=actor.roles)
    return (
        addressed.exists() or Approval.objects.asking(actor).filter(task__session=session).exists()
    )


def _page(title: str, what: Q, actor: Actor | None, *, before: int = 0, of: str = "") -> Timeline:
    """``actor``: who may not see all of ``what``."""
    events = Event.objects.filter(what).order_by("-position")
    if of:
        events = events.filter(subject_type=of)
    if before:
        events = events.filter(position__lt=before)
    known = events if actor is None else known_among(events, actor)
    latest = list(known[: PAGE + 1])
    shown = latest[:PAGE][::-1]
    steps = [
        Step(event, event.timestamp - shown[index - 1].timestamp if index else None)
        for index, event in enumerate(shown)
    ]
    if len(latest) > PAGE:
        return Timeline(title, steps, earlier=shown[0].position)
    if actor is None or actor.auditor:
        return Timeline(title, steps, earlier=None)
    last = events.values_list("position", flat=True)[LOOKED_THROUGH - 1 : LOOKED_THROUGH]
    return Timeline(title, steps, earlier=last.first())
