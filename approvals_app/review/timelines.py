"""Timelines: the events of one trace, session, task, person or agent, from the beginning."""

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import groupby
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from approvals_app.models import Approval, Comment, Override, Vote
from approvals_app.review.sentences import describe_event, find_reason
from audit_app.base.actors import Actor
from audit_app.base.errors import NotFound
from audit_app.base.events import EventType
from audit_app.models import Event
from audit_app.ui.state_diagram import StateDiagram, build_state_diagram, list_past_states
from sessions_app.models import AgentSession, Task
from sessions_app.querysets import of_known_tasks

PAGE_SIZE = 50
MAX_TASKS = 500
SCANNED_EVENTS = 2_000
"""How many events are scanned for one page, so that a reader who may see few of an agent's many
events does not wait for a scan of all of them."""

SUBJECT_TYPES = (
    "session",
    "task",
    "approval",
    "vote",
    "comment",
    "override",
    "delegation",
    "agent",
    "refusal",
    "disclosure",
)
"""What events can be filtered by: the types of their subjects."""


@dataclass(frozen=True, slots=True)
class Step:
    """One event, and the time since the one before it."""

    event: Event
    after: timedelta | None

    @property
    def details(self) -> dict[str, Any]:
        metadata: dict[str, Any] = json.loads(self.event.entry)["metadata"]
        return metadata


@dataclass(frozen=True, slots=True)
class Moment:
    """What happened in one transaction: the step that says it, and those that followed from it."""

    lead: Step
    steps: list[Step]

    @property
    def after(self) -> timedelta | None:
        """The time since the moment before; None where it is too short to be worth saying."""
        after = self.steps[0].after
        return after if after and after >= timedelta(seconds=1) else None

    @property
    def phrase(self) -> str:
        return describe_event(self.lead.event)

    @property
    def reason(self) -> str:
        return find_reason(self.lead.event)

    @property
    def kind(self) -> str:
        """The kind of timeline that the actor has; "" for none."""
        kind, _, _ = self.lead.event.actor.partition(":")
        return {"human": "person", "agent": "agent"}.get(kind, "")

    @property
    def actor(self) -> str:
        """The actor's name, without its kind."""
        name: str = self.lead.event.actor.partition(":")[2]
        return name


@dataclass(frozen=True, slots=True)
class Timeline:
    """One page, oldest event first; ``earlier`` is the ``before`` of the page before it.

    A page may be short where the reader may not see most of the SCANNED_EVENTS. ``machine`` is the
    state diagram of the task or session that the timeline is of.
    """

    title: str
    steps: list[Step]
    earlier: int | None
    machine: StateDiagram | None = None
    subject: str = ""

    @property
    def moments(self) -> list[Moment]:
        """The steps, those of one transaction together."""
        groups = (list(steps) for _, steps in groupby(self.steps, lambda step: step.event.xid))
        return [Moment(_find_lead(steps), steps) for steps in groups]


def _find_lead(steps: list[Step]) -> Step:
    """The step that says what the others followed from: an override, else the first."""
    overrides = (step for step in steps if step.event.event_type == EventType.OVERRIDE_OPENED)
    return next(overrides, steps[0])


def load_trace(trace_id: UUID, actor: Actor, **page: Any) -> Timeline:
    """All events of a trace that the reader may see, named after its first task."""
    tasks = Task.objects.filter(of_known_tasks(actor), trace_id=trace_id).order_by("created_at")
    task = tasks.only("task_type", "description").first()
    timeline = _load_page(task.title if task else "Trace", Q(trace_id=trace_id), actor, **page)
    return replace(timeline, subject=f"trace {trace_id}")


def load_task(task_id: UUID, actor: Actor, **page: Any) -> Timeline:
    """The task with its approvals, votes and overrides. Raises NotFound."""
    # Whoever may see a task may see all of these, so the events need no further filter.
    task = (
        Task.objects.filter(of_known_tasks(actor))
        .only("task_type", "status", "description")
        .one(task_id)
    )
    approvals = Approval.objects.filter(task=task)
    ids = [
        task.pk,
        *approvals.values_list("pk", flat=True),
        *Vote.objects.filter(approval__in=approvals).values_list("pk", flat=True),
        *Comment.objects.filter(approval__in=approvals).values_list("pk", flat=True),
        *Override.objects.filter(task=task).values_list("pk", flat=True),
    ]
    timeline = _load_page(task.title, Q(subject_id__in=ids), None, **page)
    machine = build_state_diagram(task, list_past_states(task))
    return replace(timeline, machine=machine, subject=f"task {task_id}")


def load_session(session_id: UUID, actor: Actor, **page: Any) -> Timeline:
    """The session and the traces of the tasks it routed. Raises NotFound."""
    session: AgentSession = AgentSession.objects.get_visible(actor, session_id)
    tasks = Task.objects.filter(session=session).order_by("-created_at")[:MAX_TASKS]
    traces = {session.trace_id, *tasks.values_list("trace_id", flat=True)}
    title = f"Session of {session.agent.name}"
    timeline = _load_page(title, Q(trace_id__in=traces), actor, **page)
    machine = build_state_diagram(session, list_past_states(session))
    return replace(timeline, machine=machine, subject=f"session {session_id}")


def load_actor(kind: str, name: str, actor: Actor, **page: Any) -> Timeline:
    """What a person or an agent did; empty where nobody has this name. Raises NotFound."""
    # PostgreSQL's text can't hold U+0000.
    if "\x00" in name:
        raise NotFound(what="timeline")
    return _load_page(f"{kind.capitalize()} {name}", Q(actor=f"{kind}:{name}"), actor, **page)


def filter_visible(events: "QuerySet[Event]", actor: Actor) -> "QuerySet[Event]":
    """Those of the first SCANNED_EVENTS of ``events`` that ``actor`` may see, newest first.

    An auditor gets ``events`` as they are.
    """
    if actor.auditor:
        return events
    scanned = events.values("pk")[:SCANNED_EVENTS]
    return Event.objects.filter(pk__in=scanned).visible_to(actor).order_by("-position")


def _load_page(
    title: str, subject: Q, actor: Actor | None, *, before: int = 0, of: str = ""
) -> Timeline:
    """A page of the events of ``subject``. ``actor`` None: the reader may see all of them."""
    events = Event.objects.filter(subject).order_by("-position")
    if of:
        events = events.filter(subject_type=of)
    if before:
        events = events.filter(position__lt=before)
    visible = events if actor is None else filter_visible(events, actor)
    latest = list(visible[: PAGE_SIZE + 1])
    page_events = latest[:PAGE_SIZE][::-1]
    steps = [
        Step(event, event.timestamp - page_events[index - 1].timestamp if index else None)
        for index, event in enumerate(page_events)
    ]
    if len(latest) > PAGE_SIZE:
        return Timeline(title, steps, earlier=page_events[0].position)
    if actor is None or actor.auditor:
        return Timeline(title, steps, earlier=None)
    # The page ends where the scan did, so that the reader can go on from there.
    last = events.values_list("position", flat=True)[SCANNED_EVENTS - 1 : SCANNED_EVENTS]
    return Timeline(title, steps, earlier=last.first())
