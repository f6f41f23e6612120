"""What was asked for before: other tasks about the same order, invoice, account or resource."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import (
    Case,
    DateTimeField,
    ExpressionWrapper,
    F,
    Prefetch,
    QuerySet,
    TextField,
    Value,
    When,
)
from django.db.models.functions import Length
from django.utils import timezone

from approvals_app.models import Approval
from approvals_app.payload.summary import summarize_text
from audit_app.base.actors import Actor
from audit_app.base.text_safety import shorten
from sessions_app.models import Task, title_of
from sessions_app.querysets import of_known_tasks

WITHIN = timedelta(days=30)
MOST_SHOWN = 5
MOST_COUNTED = 100
LONGEST_TITLE = 100
LARGE = 100_000
"""Characters of a payload that is not read for its amount: a page names ten tasks."""


@dataclass(frozen=True, slots=True)
class Headline:
    """What a task was about: ``amount`` in major units, or ""."""

    title: str
    amount: str


@dataclass(frozen=True, slots=True)
class EarlierRequest:
    """Another task that has an identifier of this one's; ``approval`` is the last on it that was
    decided or waits, None where nobody was asked."""

    task: Task
    headline: Headline
    approval: Approval | None

    @property
    def at(self) -> datetime:
        """When it was decided; else when it was routed."""
        decided = self.approval.decision_at if self.approval else None
        return decided or self.task.created_at


@dataclass(frozen=True, slots=True)
class Duplicates:
    """The earlier requests that mention ``name``, ``order 2026-118204``: the latest of them, and
    how many there are, counted up to MOST_COUNTED."""

    name: str
    count: int
    requests: Sequence[EarlierRequest]

    @property
    def is_counted_in_full(self) -> bool:
        """Whether there are no more than ``count``."""
        return self.count < MOST_COUNTED


def find_duplicates(task: Task, actor: Actor) -> list[Duplicates]:
    """The other tasks of the last 30 days that ``actor`` may see and that have an identifier of
    ``task``'s; grouped by identifier, those of most requests last. Sends no query without one."""
    if not task.identifiers:
        return []
    found = list(_query_duplicates(task, actor))
    shown = {each.pk: each for each in found[:MOST_COUNTED]}
    by_name: dict[tuple[str, ...], list[str]] = {}
    for identifier in task.identifiers:
        ids = tuple(str(pk) for pk, each in shown.items() if identifier in each.identifiers)
        if ids:
            by_name.setdefault(ids, []).append(identifier)
    latest = {pk for ids in by_name for pk in ids[:MOST_SHOWN]}
    requests = _load_requests([each for pk, each in shown.items() if str(pk) in latest])
    groups = [
        Duplicates(
            name=", ".join(_name(each) for each in identifiers[:3])
            + (f" and {len(identifiers) - 3} more" if len(identifiers) > 3 else ""),
            count=len(ids),
            requests=[requests[pk] for pk in ids[:MOST_SHOWN]],
        )
        for ids, identifiers in by_name.items()
    ]
    return sorted(groups, key=lambda each: each.count)


def describe_task(task: Task, text: str) -> Headline:
    """What ``task`` was about; ``text`` is its payload, "" where it is too long to be read."""
    amount = summarize_text(text).traits.get("amount", "") if text else ""
    title = title_of(task.description, task.task_type.replace("_", " "))
    return Headline(shorten(title, LONGEST_TITLE), amount)


def with_text(rows: "QuerySet[Any]", task: str = "") -> "QuerySet[Any]":
    """``rows`` annotated with ``text``, the payload that ``describe_task`` reads, and without the
    other large columns of their tasks. ``task`` leads from a row to its task."""
    before = f"{task}__" if task else ""
    large = [f"{before}{name}" for name in ("payload", "data", "context", "result", "error")]
    small = When(size__lt=LARGE, then=f"{before}payload")
    text = Case(small, default=Value(""), output_field=TextField())
    sized = rows.defer(*large).annotate(size=Length(f"{before}payload"))
    read: QuerySet[Any] = sized.annotate(text=text)
    return read


def _query_duplicates(task: Task, actor: Actor) -> "QuerySet[Task]":
    # Few tasks have the identifier, and very many are of the last month: the sum keeps PostgreSQL
    # from reading the index of times. The index of identifiers has no tasks without any.
    routed_at = ExpressionWrapper(F("created_at") + timedelta(0), DateTimeField())
    others = Task.objects.annotate(routed_at=routed_at).filter(
        of_known_tasks(actor),
        identifiers__overlap=task.identifiers,
        routed_at__gte=timezone.now() - WITHIN,
        routed_at__lte=task.created_at,
    )
    others = others.exclude(identifiers=[])
    latest = others.exclude(pk=task.pk).order_by("-created_at", "-id")
    return latest.only("pk", "identifiers", "created_at")[:MOST_COUNTED]


def _load_requests(tasks: Sequence[Task]) -> dict[str, EarlierRequest]:
    decided = Approval.objects.select_related("decided_by").order_by("created_at", "id")
    rows = with_text(Task.objects.filter(pk__in=[each.pk for each in tasks]))
    rows = rows.prefetch_related(Prefetch("approvals", decided, to_attr="asked"))
    return {
        str(each.pk): EarlierRequest(each, describe_task(each, each.text), _choose(each))
        for each in rows
    }


def _choose(task: Any) -> Approval | None:
    """The approval that says what became of the task."""
    asked: list[Approval] = [each for each in task.asked if each.revision == task.revision]
    decided = [each for each in asked if each.decided_by is not None]
    return next(reversed(decided or asked), None)


def _name(identifier: str) -> str:
    """``order 2026-118204``, ``IBAN AT61…``."""
    kind, _, value = identifier.partition(":")
    return f"{'IBAN' if kind == 'iban' else kind.replace('_', ' ')} {value}"
