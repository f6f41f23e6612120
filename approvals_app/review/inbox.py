"""What waits for a reviewer, what they decided and what they asked for, as their inbox lists it."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar
from urllib.parse import urlencode
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import (
    BooleanField,
    Case,
    Count,
    Exists,
    ExpressionWrapper,
    Func,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    TextField,
    When,
)
from django.db.models.expressions import RawSQL
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Coalesce, Left, Now

from approvals_app.models import Approval, Override, Viewer, Vote
from approvals_app.payload.diffs import Line, diff_tasks
from approvals_app.review.presence import LOOKING
from audit_app.base.actors import Actor
from audit_app.base.text_safety import shortened
from sessions_app.models import Task
from sessions_app.querysets import of_known_tasks

PAGE_SIZE = 20
COUNTED = 99
SENTENCE = 200
BACK = 500
"""How many of what is over are listed; the lists of tasks and approvals have the others."""

OFFERED = 1_000
"""Among how many, the most urgent ones, the filters look for what they offer."""

MOST_OFFERED = 50
MOST_WORDS = 8
LONGEST_WORDS = 200
LAST_PAGE = 10_000
AMOUNT = re.compile(r"-?[0-9][0-9., ]{0,20}")
CURRENCY = re.compile(r"[A-Za-z]{3}|[€$£¥]")
BREAK = re.compile(r"[\s!-/:-@\[-`{-~]+")
"""What parts words in a search: as tasks_words does in the database."""

BULKY = ("data", "context", "payload", "description", "result", "error")
REACH = {
    "recipients": ("recipient", "recipients"),
    "rows": ("row", "rows"),
    "hosts": ("host", "hosts"),
    "resource_changes": ("resource change", "resource changes"),
    "count": ("item", "items"),
}
"""Members of a task's data that say how many it touches: a number, or a list of them."""

EXPORTED = {
    "waiting": (
        "id",
        "task_id",
        "task__task_type",
        "task__description",
        "task__agent__name",
        "task__from_role",
        "approver_role",
        "risk",
        "needed",
        "created_at",
        "expires_at",
    ),
    "decided": (
        "id",
        "approval_id",
        "approval__task_id",
        "approval__task__task_type",
        "approval__task__description",
        "approval__task__agent__name",
        "choice",
        "created_at",
        "approval__status",
    ),
    "asked": ("id", "task_type", "description", "agent__name", "to_role", "status", "created_at"),
}
"""The columns of each tab as a file."""

AGES = {
    "1h": ("1 hour", timedelta(hours=1)),
    "1d": ("1 day", timedelta(days=1)),
    "7d": ("7 days", timedelta(days=7)),
}
RISK = Case(When(risk=Approval.Risk.HIGH, then=0), When(risk=Approval.Risk.LOW, then=2), default=1)
URGENCY = ("expires_at", RISK, "created_at", "id")
"""What is most urgent first."""

ASKED = """
SELECT theirs.id FROM agents CROSS JOIN LATERAL (
    SELECT id FROM tasks WHERE agent_id = agents.id
    ORDER BY created_at DESC LIMIT %s) AS theirs
WHERE agents.owner_id = %s
UNION
SELECT named.id FROM auth_user CROSS JOIN LATERAL (
    VALUES (upper(username)), (upper(email))) AS person (name)
CROSS JOIN LATERAL (
    SELECT id FROM tasks WHERE upper(on_behalf_of) = person.name AND on_behalf_of <> ''
    ORDER BY created_at DESC LIMIT %s) AS named
WHERE auth_user.id = %s
"""
HOLDING = """
SELECT id FROM tasks WHERE status = 'awaiting_approval'
AND tasks_words(description || ' ' || payload) @@ to_tsquery('pg_catalog.simple', %s)
UNION ALL
SELECT tasks.id FROM tasks JOIN overrides ON overrides.task_id = tasks.id
WHERE overrides.status = 'open'
AND tasks_words(tasks.description || ' ' || tasks.payload) @@ to_tsquery('pg_catalog.simple', %s)
"""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which tab of the inbox, which page of it, and what of it; as the page's address says it."""

    TABS: ClassVar[dict[str, str]] = {
        "waiting": "Waiting for me",
        "decided": "My decisions",
        "asked": "My requests",
    }
    tab: str = "waiting"
    role: str = ""
    type: str = ""
    agent: str = ""
    age: str = ""
    q: str = ""
    page: int = 1

    @classmethod
    def of(cls, given: Mapping[str, str]) -> "Filters":
        """What an address says; what means nothing in it is left out. Raises ValueError where text
        can't be looked for."""
        text = {name: given.get(name, "").strip() for name in ("role", "type", "agent", "q")}
        if any("\x00" in value or len(value) > LONGEST_WORDS for value in text.values()):
            raise ValueError
        tab, age = given.get("tab", ""), given.get("age", "")
        return cls(
            tab=tab if tab in cls.TABS else "waiting",
            age=age if age in AGES else "",
            page=_page_number(given.get("page", "1")),
            **text,
        )

    @property
    def narrowed(self) -> bool:
        return any((self.role, self.type, self.agent, self.age, self.q))

    @property
    def query(self) -> str:
        """The address's query that says this, without the page."""
        return self.to_page(1)

    def to_page(self, number: int) -> str:
        named = {name: getattr(self, name) for name in ("role", "type", "agent", "age", "q")}
        if self.tab != "waiting":
            named["tab"] = self.tab
        if number > 1:
            named["page"] = number
        return urlencode({name: value for name, value in named.items() if value})

    def matching(self, approvals: "QuerySet[Approval]") -> "QuerySet[Approval]":
        if self.role:
            approvals = approvals.filter(approver_role=self.role)
        if self.type:
            approvals = approvals.filter(task__task_type=self.type)
        if self.agent:
            approvals = approvals.filter(task__agent__name=self.agent)
        if self.age:
            approvals = approvals.filter(created_at__lte=Now() - AGES[self.age][1])
        return approvals.filter(_holding(self.q)) if self.q else approvals


@dataclass(frozen=True, slots=True)
class Row:
    """One approval as the inbox shows it."""

    approval: Approval
    sentence: str
    amount: str
    reach: str = ""
    missing: int = 0
    looking: list[str] = field(default_factory=list)
    changes_asked: bool = False
    difference: list[Line] = field(default_factory=list)
    """What the present revision changed, where several are decided at once."""

    @property
    def key(self) -> str:
        return str(self.approval.pk)


@dataclass(frozen=True, slots=True)
class Decided:
    """What the reader said of one approval, and what became of it."""

    vote: Vote
    sentence: str
    amount: str
    reach: str

    @property
    def key(self) -> str:
        return str(self.vote.pk)


@dataclass(frozen=True, slots=True)
class Asked:
    """A task of an agent of the reader's, or on their behalf; ``known``: they may open it."""

    task: Task
    sentence: str
    amount: str
    reach: str
    waits_for: list[str]
    known: bool

    @property
    def key(self) -> str:
        return str(self.task.pk)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a tab; how many more there are is not counted.

    ``cut``: there are more than a tab lists.
    """

    rows: list[Any]
    number: int
    has_next: bool
    cut: bool = False

    @property
    def previous_number(self) -> int:
        return self.number - 1

    @property
    def next_number(self) -> int:
        return self.number + 1


def page(actor: Actor, filters: Filters) -> Page:
    """One page of one tab in one query; the payloads, which may be large, stay where they are."""
    match filters.tab:
        case "decided":
            return _decided(actor, filters.page)
        case "asked":
            return _asked(actor, filters.page)
    begin = (filters.page - 1) * PAGE_SIZE
    waiting = filters.matching(Approval.objects.waiting_for(actor)).order_by(*URGENCY)
    some = waiting.values("pk")[begin : begin + PAGE_SIZE + 1]
    found = list(_shown(Approval.objects.filter(pk__in=some), actor).order_by(*URGENCY))
    rows = [_row(approval) for approval in found[:PAGE_SIZE]]
    return Page(rows, filters.page, has_next=len(found) > PAGE_SIZE)


def several(actor: Actor, ids: Iterable[UUID]) -> list[Row]:
    """Those of ``ids`` that ``actor`` may know of, in their order."""
    ids = list(ids)
    rows = _shown(Approval.objects.filter(of_known_tasks(actor, "task"), pk__in=ids), actor)
    found = {row.pk: row for row in rows}
    revised = [row.task_id for row in found.values() if row.revision > 1]
    changed = diff_tasks(revised) if revised else {}
    return [
        _row(found[pk], difference=changed.get(found[pk].task_id, [])) for pk in ids if pk in found
    ]


def overrides(actor: Actor) -> list[Override]:
    """What was approved alone, and has not been reviewed yet."""
    open_ones = Override.objects.visible_to(actor).filter(status=Override.Status.OPEN)
    told = open_ones.select_related("opened_by", "task").defer(*_bulky("task"))
    return list(told.order_by("review_due_at")[:10])


def waiting(actor: Actor) -> int:
    """How many approvals wait for ``actor``, counted up to COUNTED + 1."""
    counted: int = Approval.objects.waiting_for(actor).order_by()[: COUNTED + 1].count()
    return counted


def offered(actor: Actor) -> dict[str, list[str]]:
    """The roles, types and agents among what is most urgent, to choose from."""
    urgent = Approval.objects.pending().asking(actor).order_by("expires_at")[:OFFERED]
    asked = Approval.objects.filter(pk__in=urgent.values("pk"))
    found = list(asked.values_list("approver_role", "task__task_type", "task__agent__name"))
    columns = ("role", "type", "agent")
    return {
        name: sorted({row[index] for row in found})[:MOST_OFFERED]
        for index, name in enumerate(columns)
    }


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


def reach(counts: Iterable[tuple[str, Any]]) -> str:
    """How many of what a task touches: the first of ``counts`` that is obviously a number."""
    for name, count in counts:
        if re.fullmatch(r"[0-9]{1,15}", str(count)):
            return f"{int(count):,} {REACH[name][int(count) != 1]}"
    return ""


def exported(actor: Actor, filters: Filters) -> tuple["QuerySet[Any]", tuple[str, ...]]:
    """What a tab lists with its filters, all pages of it, and the columns of it as a file."""
    rows: QuerySet[Any]
    match filters.tab:
        case "decided":
            rows = _votes_of(actor)
        case "asked":
            rows = _asked_by(actor)
        case _:
            rows = filters.matching(Approval.objects.waiting_for(actor))
    return rows, EXPORTED[filters.tab]


def _votes_of(actor: Actor) -> "QuerySet[Vote]":
    """The latest votes that ``actor`` cast, of what they may still know of."""
    mine = (
        Vote.objects.cast()
        .filter(voter_id=int(actor.id))
        .order_by("-created_at")[:BACK]
        .values("pk")
    )
    return Vote.objects.filter(of_known_tasks(actor, "approval__task"), pk__in=mine)


def _decided(actor: Actor, number: int) -> Page:
    """The votes that the reader cast, newest first."""
    votes = _votes_of(actor).annotate(**_told("approval__task")).order_by("-created_at", "-id")
    votes = votes.select_related("approval__task__agent", "approval__decided_by")
    return _of_what_is_over(votes.defer(*_bulky("approval__task")), number, _decided_row)


def _asked_by(actor: Actor) -> "QuerySet[Task]":
    """The latest tasks that agents of ``actor``'s routed, or on ``actor``'s behalf."""
    theirs = RawSQL(ASKED, [BACK, actor.id, BACK, actor.id])  # noqa: S611  # a constant
    return Task.objects.filter(pk__in=theirs)


def _asked(actor: Actor, number: int) -> Page:
    """The tasks that the reader asked for, newest first."""
    waits_for = Approval.objects.pending().filter(task=OuterRef("pk")).order_by("approver_role")
    tasks = (
        _asked_by(actor)
        .annotate(
            **_told(""),
            waits_for=ArraySubquery(waits_for.values("approver_role")[:5]),
            known=ExpressionWrapper(of_known_tasks(actor), BooleanField()),
        )
        .select_related("agent")
        .order_by("-created_at", "-id")
    )
    return _of_what_is_over(tasks.defer(*BULKY), number, _asked_row)


def _of_what_is_over(rows: "QuerySet[Any]", number: int, row: Callable[[Any], Any]) -> Page:
    begin = (number - 1) * PAGE_SIZE
    found = list(rows[begin : min(begin + PAGE_SIZE + 1, BACK)]) if begin < BACK else []
    shown = [row(one) for one in found[:PAGE_SIZE]]
    more = len(found) > PAGE_SIZE
    return Page(shown, number, has_next=more, cut=begin + len(found) >= BACK)


def _shown(approvals: "QuerySet[Approval]", actor: Actor) -> "QuerySet[Approval]":
    """``approvals`` with what a row shows of them."""
    votes = Vote.objects.cast().filter(approval=OuterRef("pk"))
    eligible = votes.filter(
        choice="yes",
        voter__is_active=True,
        seat_of__is_active=True,
        seat_of__groups__name=OuterRef("approver_role"),
    )
    counted = eligible.order_by().values("approval").annotate(n=Count("pk", distinct=True))
    looking = (
        Viewer.objects.filter(approval=OuterRef("pk"), seen_at__gt=Now() - LOOKING)
        .exclude(user_id=actor.id)
        .order_by("user__username")
    )
    asked = Vote.objects.cast().filter(
        choice="changes",
        approval__task=OuterRef("task"),
        approval__revision=OuterRef("revision"),
        approval__status="pending",
    )
    rows = approvals.select_related("task__agent").defer(*_bulky("task"))
    return rows.annotate(
        yes=Coalesce(Subquery(counted.values("n")), 0),
        looking=ArraySubquery(looking.values("user__username")[:3]),
        changes_asked=Exists(asked),
        **_told("task"),
    )


def _told(task: str) -> dict[str, Any]:
    """What a sentence about a task is made of, and no more of its payload than that."""
    before = f"{task}__" if task else ""
    data = f"{before}data"
    counts = {f"reach_{name}": _CountOf(data, member=name) for name in REACH}
    return counts | {
        "said": Left(f"{before}description", SENTENCE * 2),
        "amount": Left(KeyTextTransform("amount", data), 30),
        "currency": Left(KeyTextTransform("currency", data), 10),
    }


class _CountOf(Func):
    """How many a member of a JSON object says, or has; as text, since it may say anything."""

    output_field = TextField()
    template = (
        "CASE jsonb_typeof(%(expressions)s -> '%(member)s')"
        " WHEN 'array' THEN jsonb_array_length(%(expressions)s -> '%(member)s')::text"
        " WHEN 'number' THEN left(%(expressions)s ->> '%(member)s', 20) END"
    )


def _holding(words: str) -> Q:
    """What has all of ``words`` in its payload, or words that begin so: of what waits, by the
    index, and of what is reviewed after an override, which is little."""
    parts = [part for part in BREAK.split(words) if part][:MOST_WORDS]
    if not parts:
        return Q()
    query = " & ".join(f"'{part}':*" for part in parts)
    return Q(task_id__in=RawSQL(HOLDING, [query, query]))  # noqa: S611  # a constant


def _bulky(task: str) -> list[str]:
    return [f"{task}__{name}" for name in BULKY]


def _page_number(given: str) -> int:
    if not given.isascii() or not given.isdigit() or len(given) > len(str(LAST_PAGE)):
        return 1
    return min(max(int(given), 1), LAST_PAGE)


def _row(found: Any, **more: Any) -> Row:
    return Row(
        approval=found,
        missing=max(found.needed - found.yes, 0),
        looking=found.looking,
        changes_asked=found.changes_asked,
        **more,
        **_of_the_task(found.task, found),
    )


def _decided_row(vote: Any) -> Decided:
    return Decided(vote, **_of_the_task(vote.approval.task, vote))


def _asked_row(task: Any) -> Asked:
    return Asked(task, waits_for=task.waits_for, known=task.known, **_of_the_task(task, task))


def _of_the_task(task: Task, found: Any) -> dict[str, Any]:
    return {
        "sentence": sentence(task, found.said),
        "amount": amount(found.amount, found.currency),
        "reach": reach((name, getattr(found, f"reach_{name}")) for name in REACH),
    }
