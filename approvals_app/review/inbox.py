"""The inbox: what waits for a reviewer, what they decided, and what their agents requested."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
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
from approvals_app.payload.headline import format_amount
from approvals_app.payload.summary import Summary, summarize_text
from approvals_app.review.presence import PRESENCE_TIMEOUT
from audit_app.base.actors import Actor
from audit_app.base.text_safety import shorten
from sessions_app.models import Agent, Task
from sessions_app.querysets import of_known_tasks

PAGE_SIZE = 20
MAX_COUNT = 99
SUMMARY_LENGTH = 200
MAX_HISTORY = 500
"""How many rows the tabs of past decisions and requests list; the admin's lists have the rest."""

FILTER_SAMPLE = 1_000
"""How many of the most urgent approvals the filters take their options from."""

MAX_OPTIONS = 50
MAX_SEARCH_WORDS = 8
LONGEST_SEARCH = 200
LAST_PAGE = 10_000
WORD_BREAK = re.compile(r"[\s!-/:-@\[-`{-~]+")
"""Separates the words of a search, exactly as the SQL function tasks_words does."""

SMALL_PAYLOAD = 65_536
"""Bytes of a payload whose summary a row shows."""

LARGE_COLUMNS = ("data", "context", "payload", "description", "result", "error")
COUNTED_MEMBERS = {
    "recipients": ("recipient", "recipients"),
    "rows": ("row", "rows"),
    "hosts": ("host", "hosts"),
    "resource_changes": ("resource change", "resource changes"),
    "count": ("item", "items"),
}
"""Members of a task's data that say how many things it affects: a number, or a list of them."""

CSV_COLUMNS = {
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
"""The columns of each tab's CSV file."""

AGES = {
    "1h": ("1 hour", timedelta(hours=1)),
    "1d": ("1 day", timedelta(days=1)),
    "7d": ("7 days", timedelta(days=7)),
}
# Normal risk, the default, sorts between high and low.
RISK = Case(When(risk=Approval.Risk.HIGH, then=0), When(risk=Approval.Risk.LOW, then=2), default=1)
URGENCY = ("expires_at", RISK, "created_at", "id")
"""Most urgent first."""

# Newest first per agent, so that each branch reads at most MAX_HISTORY rows off its index.
REQUESTS_SQL = """
SELECT theirs.id FROM agents CROSS JOIN LATERAL (
    SELECT id FROM tasks WHERE agent_id = agents.id
    ORDER BY created_at DESC LIMIT %s) AS theirs
WHERE agents.owner_id = %s
UNION
SELECT named.id FROM reviewer_facts(%s) AS facts
CROSS JOIN LATERAL unnest(facts.names) AS person (name)
CROSS JOIN LATERAL (
    SELECT id FROM tasks WHERE upper(on_behalf_of) = person.name AND on_behalf_of <> ''
    ORDER BY created_at DESC LIMIT %s) AS named
"""
# The first half uses a partial index, whose condition and expression it must repeat exactly.
SEARCH_SQL = """
SELECT id FROM tasks WHERE status = 'awaiting_approval'
AND tasks_words(description || ' ' || payload) @@ to_tsquery('pg_catalog.simple', %s)
UNION ALL
SELECT tasks.id FROM tasks JOIN overrides ON overrides.task_id = tasks.id
WHERE overrides.status = 'open'
AND tasks_words(tasks.description || ' ' || tasks.payload) @@ to_tsquery('pg_catalog.simple', %s)
"""


@dataclass(frozen=True, slots=True)
class Filters:
    """The tab of the inbox, its page and its filters, as the URL's query has them."""

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
    def parse(cls, query: Mapping[str, str]) -> "Filters":
        """Parse a URL's query; unknown values are ignored. Raises ValueError where a text can't be
        searched for."""
        text = {name: query.get(name, "").strip() for name in ("role", "type", "agent", "q")}
        # PostgreSQL's text can't hold U+0000.
        if any("\x00" in value or len(value) > LONGEST_SEARCH for value in text.values()):
            raise ValueError
        tab, age = query.get("tab", ""), query.get("age", "")
        return cls(
            tab=tab if tab in cls.TABS else "waiting",
            age=age if age in AGES else "",
            page=_parse_page_number(query.get("page", "1")),
            **text,
        )

    @property
    def is_narrowed(self) -> bool:
        return any((self.role, self.type, self.agent, self.age, self.q))

    @property
    def query(self) -> str:
        """The URL's query for these filters, without the page."""
        return self.to_page(1)

    def to_page(self, number: int) -> str:
        values = {name: getattr(self, name) for name in ("role", "type", "agent", "age", "q")}
        if self.tab != "waiting":
            values["tab"] = self.tab
        if number > 1:
            values["page"] = number
        return urlencode({name: value for name, value in values.items() if value})

    def select_waiting(self, actor: Actor) -> "QuerySet[Approval]":
        """What waits for ``actor`` and matches, one row for each task."""
        among = Q(approver_role=self.role) if self.role else Q()
        if self.age:
            among &= Q(created_at__lte=Now() - AGES[self.age][1])
        approvals: QuerySet[Approval] = Approval.objects.waiting_for(actor, among)
        if self.type:
            approvals = approvals.filter(task__task_type=self.type)
        if self.agent:
            # By a constant: of a join PostgreSQL can't tell whether it leaves much or little.
            agent = Agent.objects.filter(name=self.agent).values_list("pk", flat=True).first()
            approvals = approvals.filter(task__agent_id=agent) if agent else approvals.none()
        return approvals.filter(_matches_words(self.q)) if self.q else approvals


@dataclass(frozen=True, slots=True)
class WaitingRow:
    """One approval that waits for the reader."""

    approval: Approval
    summary: str
    amount: str
    reach: str = ""
    facts: Summary | None = None
    missing: int = 0
    viewer_names: list[str] = field(default_factory=list)
    changes_requested: bool = False
    difference: list[Line] = field(default_factory=list)
    """What the present revision changed; only filled for bulk decisions."""

    @property
    def key(self) -> str:
        return str(self.approval.pk)


@dataclass(frozen=True, slots=True)
class DecidedRow:
    """One vote of the reader's, and the outcome."""

    vote: Vote
    summary: str
    amount: str
    reach: str
    facts: Summary | None

    @property
    def key(self) -> str:
        return str(self.vote.pk)


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A task routed by an agent of the reader's or on their behalf.

    ``is_visible``: they may open it.
    """

    task: Task
    summary: str
    amount: str
    reach: str
    facts: Summary | None
    waits_for: list[str]
    is_visible: bool

    @property
    def key(self) -> str:
        return str(self.task.pk)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a tab, without a total. ``is_truncated``: there is more than the tab lists."""

    rows: list[Any]
    number: int
    has_next: bool
    is_truncated: bool = False

    @property
    def previous_number(self) -> int:
        return self.number - 1

    @property
    def next_number(self) -> int:
        return self.number + 1


def load_page(actor: Actor, filters: Filters) -> Page:
    """Load one page of one tab in one query, without the payloads, which may be large."""
    match filters.tab:
        case "decided":
            return _load_decided_page(actor, filters.page)
        case "asked":
            return _load_requests_page(actor, filters.page)
    start = (filters.page - 1) * PAGE_SIZE
    # Choose the page's ids first, so that votes and viewers are only counted for these rows; the
    # one row more tells whether there is a next page.
    waiting = filters.select_waiting(actor).order_by(*URGENCY)
    page_ids = waiting.values("pk")[start : start + PAGE_SIZE + 1]
    approvals = list(
        _annotate_rows(Approval.objects.filter(pk__in=page_ids), actor).order_by(*URGENCY)
    )
    if not approvals and start:
        # What was on this page was decided: show the last one that there is.
        left = waiting.order_by()[:start].count()
        return load_page(actor, replace(filters, page=max(1, -(-left // PAGE_SIZE))))
    rows = [_build_waiting_row(approval) for approval in approvals[:PAGE_SIZE]]
    return Page(rows, filters.page, has_next=len(approvals) > PAGE_SIZE)


def load_rows(actor: Actor, ids: Iterable[UUID]) -> list[WaitingRow]:
    """The rows of those of ``ids`` that ``actor`` may see, in the order of ``ids``."""
    ids = list(ids)
    rows = _annotate_rows(Approval.objects.filter(of_known_tasks(actor, "task"), pk__in=ids), actor)
    by_id = {row.pk: row for row in rows}
    revised = [row.task_id for row in by_id.values() if row.revision > 1]
    differences = diff_tasks(revised) if revised else {}
    return [
        _build_waiting_row(by_id[pk], difference=differences.get(by_id[pk].task_id, []))
        for pk in ids
        if pk in by_id
    ]


def list_open_overrides(actor: Actor) -> list[Override]:
    """The ten overrides (break glass) that wait for ``actor``'s review and are due first."""
    reviews = Approval.objects.waiting_for(actor).filter(override=OuterRef("pk"))
    overrides = Override.objects.filter(Exists(reviews), status=Override.Status.OPEN)
    listed = overrides.select_related("opened_by", "task").defer(*_large_columns("task"))
    return list(listed.order_by("review_due_at")[:10])


def count_waiting(actor: Actor) -> int:
    """How many decisions wait for ``actor``, counted up to MAX_COUNT + 1."""
    count: int = Approval.objects.waiting_for(actor).order_by()[: MAX_COUNT + 1].count()
    return count


def list_filter_options(actor: Actor) -> dict[str, list[str]]:
    """The roles, types and agents of the most urgent approvals, as options of the filters."""
    urgent = Approval.objects.pending().asking(actor).order_by("expires_at")[:FILTER_SAMPLE]
    sample = Approval.objects.filter(pk__in=urgent.values("pk"))
    rows = list(sample.values_list("approver_role", "task__task_type", "task__agent__name"))
    columns = ("role", "type", "agent")
    return {
        name: sorted({row[index] for row in rows})[:MAX_OPTIONS]
        for index, name in enumerate(columns)
    }


def summarize_task(task: Task, description: str) -> str:
    """What the task will do, in one sentence: the agent's description, or one of ours."""
    if description.strip():
        return shorten(description, SUMMARY_LENGTH)
    return f"{task.from_role} asks {task.to_role} for: {task.task_type.replace('_', ' ')}."


def format_reach(counts: Iterable[tuple[str, Any]]) -> str:
    """How many things a task affects, from the first of ``counts`` that is clearly a number."""
    for name, count in counts:
        if re.fullmatch(r"[0-9]{1,15}", str(count)):
            return f"{int(count):,} {COUNTED_MEMBERS[name][int(count) != 1]}"
    return ""


def select_for_export(actor: Actor, filters: Filters) -> tuple["QuerySet[Any]", tuple[str, ...]]:
    """All rows of a tab with its filters, and the columns of its CSV file."""
    rows: QuerySet[Any]
    match filters.tab:
        case "decided":
            rows = _latest_votes(actor)
        case "asked":
            rows = _latest_requests(actor)
        case _:
            rows = filters.select_waiting(actor)
    return rows, CSV_COLUMNS[filters.tab]


def _latest_votes(actor: Actor) -> "QuerySet[Vote]":
    """The latest votes that ``actor`` cast on approvals that they may still see."""
    mine = (
        Vote.objects.cast()
        .filter(voter_id=int(actor.id))
        .order_by("-created_at")[:MAX_HISTORY]
        .values("pk")
    )
    return Vote.objects.filter(of_known_tasks(actor, "approval__task"), pk__in=mine)


def _load_decided_page(actor: Actor, number: int) -> Page:
    """The votes that the reader cast, newest first."""
    votes = (
        _latest_votes(actor)
        .annotate(**_summary_annotations("approval__task"))
        .order_by("-created_at", "-id")
    )
    votes = votes.select_related("approval__task__agent", "approval__decided_by")
    return _slice_history(
        votes.defer(*_large_columns("approval__task")), number, _build_decided_row
    )


def _latest_requests(actor: Actor) -> "QuerySet[Task]":
    """The latest tasks routed by ``actor``'s agents or on ``actor``'s behalf."""
    person = int(actor.id)
    values = [MAX_HISTORY, person, person, MAX_HISTORY]
    return Task.objects.filter(pk__in=RawSQL(REQUESTS_SQL, values))  # noqa: S611  # a constant


def _load_requests_page(actor: Actor, number: int) -> Page:
    """The tasks that the reader requested, newest first."""
    waits_for = Approval.objects.pending().filter(task=OuterRef("pk")).order_by("approver_role")
    tasks = (
        _latest_requests(actor)
        .annotate(
            **_summary_annotations(""),
            waits_for=ArraySubquery(waits_for.values("approver_role")[:5]),
            is_visible=ExpressionWrapper(of_known_tasks(actor), BooleanField()),
        )
        .select_related("agent")
        .order_by("-created_at", "-id")
    )
    return _slice_history(tasks.defer(*LARGE_COLUMNS), number, _build_request_row)


def _slice_history(rows: "QuerySet[Any]", number: int, build_row: Callable[[Any], Any]) -> Page:
    start = (number - 1) * PAGE_SIZE
    # Deep offsets get slower with every page, so history ends at MAX_HISTORY.
    sliced = (
        list(rows[start : min(start + PAGE_SIZE + 1, MAX_HISTORY)]) if start < MAX_HISTORY else []
    )
    page_rows = [build_row(one) for one in sliced[:PAGE_SIZE]]
    more = len(sliced) > PAGE_SIZE
    return Page(page_rows, number, has_next=more, is_truncated=start + len(sliced) >= MAX_HISTORY)


def _annotate_rows(approvals: "QuerySet[Approval]", actor: Actor) -> "QuerySet[Approval]":
    """``approvals`` annotated with what a WaitingRow shows."""
    votes = Vote.objects.cast().filter(approval=OuterRef("pk"))
    # A vote counts only while its voter and the seat's holder are active and still in the group.
    eligible = votes.filter(
        choice="yes",
        voter__is_active=True,
        seat_of__is_active=True,
        seat_of__groups__name=OuterRef("approver_role"),
    )
    yes_votes = eligible.order_by().values("approval").annotate(n=Count("pk", distinct=True))
    viewers = (
        Viewer.objects.filter(approval=OuterRef("pk"), seen_at__gt=Now() - PRESENCE_TIMEOUT)
        .exclude(user_id=actor.id)
        .order_by("user__username")
    )
    change_requests = Vote.objects.cast().filter(
        choice="changes",
        approval__task=OuterRef("task"),
        approval__revision=OuterRef("revision"),
        approval__status="pending",
    )
    rows = approvals.select_related("task__agent").defer(*_large_columns("task"))
    return rows.annotate(
        yes=Coalesce(Subquery(yes_votes.values("n")), 0),
        viewer_names=ArraySubquery(viewers.values("user__username")[:3]),
        changes_requested=Exists(change_requests),
        **_summary_annotations("task"),
    )


def _summary_annotations(path: str) -> dict[str, Any]:
    """What the summary of a task is made of. ``path`` leads to the task; "": the row is one."""
    # A payload may be a megabyte: only these few bytes of it leave the database.
    prefix = f"{path}__" if path else ""
    data = f"{prefix}data"
    counts = {f"reach_{name}": _MemberCount(data, member=name) for name in COUNTED_MEMBERS}
    return counts | {
        "description_start": Left(f"{prefix}description", SUMMARY_LENGTH * 2),
        "amount": Left(KeyTextTransform("amount", data), 30),
        "currency": Left(KeyTextTransform("currency", data), 10),
        "small_payload": _SmallText(f"{prefix}payload"),
    }


class _SmallText(Func):
    """A text of at most SMALL_PAYLOAD bytes, or NULL: how long it is stands in its header."""

    output_field = TextField()
    template = (
        f"CASE WHEN octet_length(%(expressions)s) <= {SMALL_PAYLOAD} THEN %(expressions)s END"
    )


# Evaluated in the database: the list itself may be long, only its length is sent.
class _MemberCount(Func):
    """A member of a JSON object that is a number, or the length of one that is a list; as text."""

    output_field = TextField()
    template = (
        "CASE jsonb_typeof(%(expressions)s -> '%(member)s')"
        " WHEN 'array' THEN jsonb_array_length(%(expressions)s -> '%(member)s')::text"
        " WHEN 'number' THEN left(%(expressions)s ->> '%(member)s', 20) END"
    )


def _matches_words(words: str) -> Q:
    """Match tasks whose description or payload has a word with each of ``words`` as its prefix."""
    # Only pending tasks (a partial index) and the few whose override awaits review are searched.
    prefixes = [prefix for prefix in WORD_BREAK.split(words) if prefix][:MAX_SEARCH_WORDS]
    if not prefixes:
        return Q()
    # WORD_BREAK leaves no quotes or operators in a word, so quoting it is safe.
    query = " & ".join(f"'{prefix}':*" for prefix in prefixes)
    return Q(task_id__in=RawSQL(SEARCH_SQL, [query, query]))  # noqa: S611  # a constant


def _large_columns(path: str) -> list[str]:
    return [f"{path}__{name}" for name in LARGE_COLUMNS]


def _parse_page_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > len(str(LAST_PAGE)):
        return 1
    return min(max(int(text), 1), LAST_PAGE)


def _build_waiting_row(approval: Any, **extra: Any) -> WaitingRow:
    return WaitingRow(
        approval=approval,
        missing=max(approval.needed - approval.yes, 0),
        viewer_names=approval.viewer_names,
        changes_requested=approval.changes_requested,
        **extra,
        **_summarize_row(approval.task, approval),
    )


def _build_decided_row(vote: Any) -> DecidedRow:
    return DecidedRow(vote, **_summarize_row(vote.approval.task, vote))


def _build_request_row(task: Any) -> RequestRow:
    return RequestRow(
        task, waits_for=task.waits_for, is_visible=task.is_visible, **_summarize_row(task, task)
    )


def _summarize_row(task: Task, row: Any) -> dict[str, Any]:
    facts = summarize_text(row.small_payload) if row.small_payload else None
    return {
        "facts": facts if facts and facts.facts else None,
        "summary": summarize_task(task, row.description_start),
        "amount": format_amount(row.amount, row.currency),
        "reach": format_reach((name, getattr(row, f"reach_{name}")) for name in COUNTED_MEMBERS),
    }
