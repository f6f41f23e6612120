"""The inbox: what waits for a reviewer, what they decided, and what their agents requested."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar
from urllib.parse import urlencode
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import (
    BooleanField,
    Case,
    Count,
    Exists,
    ExpressionWrapper,
    F,
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
from django.db.models.functions import Coalesce, JSONObject, Left, Now
from django.utils import timezone

from approvals_app.decisions.bulk import find_warnings, why_not_in_bulk
from approvals_app.models import Approval, Claim, Viewer, Vote
from approvals_app.payload.diffs import Line, diff_tasks
from approvals_app.payload.facts import Level
from approvals_app.payload.money import format_amount
from approvals_app.payload.summary import Summary, summarize_text
from approvals_app.querysets import RISK, TIER, URGENCY_IN_TIER
from approvals_app.review.presence import CLAIM_LASTS, PRESENCE_TIMEOUT
from audit_app.base.actors import Actor
from audit_app.base.csv_export import Column, show
from audit_app.base.prepared import Prepared
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
MAX_EXPIRED = 10
MAX_SEARCH_WORDS = 8
LONGEST_SEARCH = 200
LAST_PAGE = 10_000
SUMMABLE = re.compile(r"-?(?:[0-9]{1,15}|[0-9]{1,3}(?:,[0-9]{3}){1,4})(?:\.[0-9]{1,6})?")
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

AGES = {
    "1h": ("1 hour", timedelta(hours=1)),
    "1d": ("1 day", timedelta(days=1)),
    "7d": ("7 days", timedelta(days=7)),
}
GROUPS = ("Reviews", "Due today", "High risk", "Others", "Waiting for others")
"""The parts of the list, in their order, by the annotation ``group``."""

URGENCY = ("group", "tier", *URGENCY_IN_TIER)
"""Most urgent first: reviews of what was approved alone; what is due today, high risk before the
rest; other high risk; the rest; last what nobody can approve before its agent sends a revision. In
each, the nearest deadline is first, and of one deadline the higher risk.

Amounts count through the risk that policies derive from them: amounts of several currencies can't
be compared.
"""

# A group is read off the index approvals_urgency, which has neither today nor votes: as segments of
# it, one after another, each no further than the page needs. The function scan is known to be
# sorted by its ordinality, so PostgreSQL stops at the segment that fills the page.
SEGMENTS_SQL = """
SELECT listed.id, segment.place
FROM unnest(%s::integer[], %s::timestamptz[], %s::timestamptz[], %s::boolean[])
    WITH ORDINALITY AS segment (tier, starts_at, ends_at, blocked, place)
CROSS JOIN LATERAL ({waiting}) AS listed
ORDER BY segment.place, listed.expires_at, listed.risk_rank, listed.created_at, listed.id
LIMIT %s OFFSET %s
"""
SEGMENT_GROUPS = (0, 1, 1, 2, 3, 4, 4, 4)
"""The group of each segment."""

SEATS_SQL = """
SELECT asked.id, person.username FROM unnest(%s::uuid[]) AS asked (id)
CROSS JOIN LATERAL (SELECT seat FROM voting_seats(asked.id, %s) WHERE code IS NULL
    ORDER BY place, lent_at LIMIT 1) AS own
JOIN auth_user AS person ON person.id = own.seat
"""

# Newest first per agent, so that each branch reads at most MAX_HISTORY rows off its index.
REQUESTS_SQL = """
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
    NAMES: ClassVar[tuple[str, ...]] = ("role", "type", "agent", "age", "q", "snoozed")
    tab: str = "waiting"
    role: str = ""
    type: str = ""
    agent: str = ""
    age: str = ""
    q: str = ""
    snoozed: str = ""
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
            snoozed="1" if query.get("snoozed") == "1" else "",
            page=_parse_page_number(query.get("page", "1")),
            **text,
        )

    @property
    def is_narrowed(self) -> bool:
        return any((self.role, self.type, self.agent, self.age, self.q, self.snoozed))

    @property
    def query(self) -> str:
        """The URL's query for these filters, without the page."""
        return self.to_page(1)

    def to_page(self, number: int) -> str:
        values = {name: getattr(self, name) for name in self.NAMES}
        if self.tab != "waiting":
            values["tab"] = self.tab
        if number > 1:
            values["page"] = number
        return urlencode({name: value for name, value in values.items() if value})

    def select_waiting(self, actor: Actor) -> "QuerySet[Approval]":
        """What waits for ``actor`` and matches, one row for each task, to be ordered by URGENCY."""
        return _rank(self.match_waiting(actor), end_of_day())

    def match_waiting(self, actor: Actor) -> "QuerySet[Approval]":
        """``select_waiting`` without what the order needs."""
        among = Q(approver_role=self.role) if self.role else Q()
        if self.age:
            among &= Q(created_at__lte=Now() - AGES[self.age][1])
        approvals = Approval.objects.waiting_for(actor, among)
        approvals = (approvals.snoozed_by if self.snoozed else approvals.not_snoozed_by)(actor)
        if self.type:
            approvals = approvals.filter(task__task_type=self.type)
        if self.agent:
            # By a constant: of a join PostgreSQL can't tell whether it leaves much or little.
            agent = Agent.objects.filter(name=self.agent).values_list("pk", flat=True).first()
            approvals = approvals.filter(task__agent_id=agent) if agent else approvals.none()
        return approvals.filter(_matches_words(self.q)) if self.q else approvals


@dataclass(frozen=True, slots=True)
class Required:
    """One group that the task still waits for, and how many of it approved."""

    role: str
    yes: int
    needed: int
    is_mine: bool

    def __str__(self) -> str:
        return f"{self.role} {self.yes}/{self.needed}"


@dataclass(frozen=True, slots=True)
class Sum:
    """An amount that can be added to others of its currency."""

    number: Decimal
    currency: str

    @classmethod
    def parse(cls, amount: str) -> "Sum | None":
        """``18,750.00 EUR``; None where the number could be read in two ways."""
        number, _, currency = amount.rpartition(" ")
        if not number or not SUMMABLE.fullmatch(number):
            return None
        return cls(Decimal(number.replace(",", "")), currency.upper())

    def __str__(self) -> str:
        return f"{self.number:,f} {self.currency}"


def add_up(rows: Iterable["WaitingRow"]) -> str:
    """``22.50 EUR, 3.00 USD``: the sum of each currency of ``rows``."""
    sums: dict[str, Decimal] = {}
    for row in rows:
        if row.sum:
            sums[row.sum.currency] = sums.get(row.sum.currency, Decimal(0)) + row.sum.number
    return ", ".join(str(Sum(number, currency)) for currency, number in sums.items())


@dataclass(frozen=True, slots=True)
class WaitingRow:
    """One approval that waits for the reader."""

    approval: Approval
    summary: str
    amount: str
    reach: str = ""
    facts: Summary | None = None
    payload: str | None = None
    """The payload's text, if it is small."""
    required: list[Required] = field(default_factory=list)
    viewer_names: list[str] = field(default_factory=list)
    changes_requested: bool = False
    group: int = 0
    stands_in_for: str = ""
    """In whose seat the reader votes; "" for their own."""
    claimed_by: str = ""
    difference: list[Line] = field(default_factory=list)
    """What the present revision changed; only filled for bulk decisions."""

    @property
    def key(self) -> str:
        return str(self.approval.pk)

    @property
    def missing(self) -> int:
        """How many approvals of the row's own group are missing."""
        own = [each for each in self.required if each.role == self.approval.approver_role]
        return sum(max(each.needed - each.yes, 0) for each in own)

    @property
    def approvals(self) -> str:
        """``dba 0/1 or sre 0/1, legal 1/2``: the reader's vote counts for one of the first."""
        return join_required(self.required)

    @property
    def headline(self) -> str:
        """Our own title of the task; "" where no kind reads its payload."""
        return self.facts.headline if self.facts else ""

    @property
    def level(self) -> str:
        """What the dot of the row tells: danger, notice or plain."""
        if self.approval.risk == Approval.Risk.HIGH:
            return Level.DANGER
        return self.facts.level if self.facts else Level.PLAIN

    @property
    def risk_words(self) -> str:
        """What the dot of the row tells, for whom it is read to."""
        if self.approval.risk == Approval.Risk.HIGH:
            return "High risk"
        if self.facts and self.facts.level is not Level.PLAIN:
            return f"{self.facts.level.capitalize()}: {self.facts.facts[0].label}"
        return f"{self.approval.get_risk_display()} risk"

    @property
    def sum(self) -> Sum | None:
        """Its amount, if it can be added to others."""
        return Sum.parse(self.amount)

    @property
    def why_not_in_bulk(self) -> str:
        """Why the row can't be approved together with others; "" if it can."""
        return why_not_in_bulk(self)

    @property
    def is_suspicious(self) -> bool:
        """Whether the agent's text may deceive; what is large is not searched."""
        return bool(self.payload and find_warnings(self.approval.payload_digest, self.payload))

    @property
    def is_approved_by_silence(self) -> bool:
        """Whether it is approved without a human if nobody answers."""
        terms = self.approval.at_deadline
        silence = terms.get("then") == "approve_without_a_human" and not terms.get("escalate")
        return silence and not self.changes_requested and not self.approval.override_id


@dataclass(frozen=True, slots=True)
class ExpiredRow:
    """An approval whose deadline passed, until the scheduled job processes it."""

    approval: Approval
    summary: str

    @property
    def then(self) -> str:
        """What happens next: ``goes to dba``."""
        terms = self.approval.at_deadline
        if steps := terms.get("escalate"):
            return f"goes to {steps[0]['role']}"
        if terms.get("then") == "approve_without_a_human":
            return "approved automatically unless somebody objected"
        return "ends without a decision"


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
    # One more than the page shows tells whether there is a next page.
    groups = list_waiting(actor, filters, start, start + PAGE_SIZE + 1)
    if not groups and start:
        # What was on this page was decided: show the last one that there is.
        left = filters.match_waiting(actor).order_by()[:start].count()
        return load_page(actor, replace(filters, page=max(1, -(-left // PAGE_SIZE))))
    ids = list(groups)[:PAGE_SIZE]
    # Votes and viewers are only counted for these rows.
    by_id = {row.pk: row for row in _annotate_rows(Approval.objects.filter(pk__in=ids), actor)}
    seats = _find_seats(actor, by_id.values())
    rows = [
        _build_waiting_row(by_id[pk], actor, seats, group=groups[pk]) for pk in ids if pk in by_id
    ]
    return Page(rows, filters.page, has_next=len(groups) > PAGE_SIZE)


def list_waiting(actor: Actor, filters: Filters, start: int, stop: int) -> dict[UUID, int]:
    """The ids of what waits for ``actor`` and matches, from ``start`` to ``stop`` in the order of
    URGENCY, each with its group (a position in GROUPS)."""
    statement, values = _slice_waiting(filters.match_waiting(actor), end_of_day(), start, stop)
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return {pk: SEGMENT_GROUPS[place - 1] for pk, place in cursor.fetchall()}


def end_of_day() -> datetime:
    """The next midnight in the reader's time zone."""
    local = timezone.localtime()
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    return midnight + timedelta(days=1)


def _rank(approvals: "QuerySet[Approval]", midnight: datetime) -> "QuerySet[Approval]":
    """``approvals`` annotated with what URGENCY orders by."""
    reviews, today, high, others, blocked = range(len(GROUPS))
    group = Case(
        When(_is_blocked(), then=blocked),
        When(override__isnull=False, then=reviews),
        When(expires_at__lt=midnight, then=today),
        When(risk=Approval.Risk.HIGH, then=high),
        default=others,
    )
    return approvals.annotate(tier=TIER, group=group)


def _slice_waiting(
    waiting: "QuerySet[Approval]", midnight: datetime, start: int, stop: int
) -> tuple[str, list[Any]]:
    """The statement that reads the ids of ``waiting`` and their segments, with its values."""
    first, last, day = "-infinity", "infinity", midnight.isoformat()
    segments = [
        (0, first, last, False),  # reviews
        (1, first, day, False),
        (2, first, day, False),
        (1, day, last, False),
        (2, day, last, False),
        *((tier, first, last, True) for tier in (0, 1, 2)),
    ]
    inner = (
        waiting.alias(in_tier=TIER, is_blocked=_is_blocked())
        .filter(
            in_tier=RawSQL("segment.tier", []),  # a constant, as those below
            expires_at__gte=RawSQL("segment.starts_at", []),
            expires_at__lt=RawSQL("segment.ends_at", []),
            is_blocked=RawSQL("segment.blocked", []),
        )
        .order_by(*URGENCY_IN_TIER)
        .values("id", "expires_at", "created_at", risk_rank=RISK)[:stop]
    )
    try:
        sql, values = inner.query.sql_with_params()
    except EmptyResultSet:  # of an agent that does not exist
        return "SELECT NULL::uuid, 0 WHERE false", []
    columns = [list(column) for column in zip(*segments, strict=True)]
    return SEGMENTS_SQL.replace("{waiting}", sql), [*columns, *values, stop - start, start]


def _is_blocked() -> Exists:
    """Whether nobody can approve the row before its agent sends a revision."""
    change_requests = Vote.objects.cast().filter(
        choice=Vote.Choice.CHANGES,
        approval__task=OuterRef("task"),
        approval__revision=OuterRef("revision"),
        approval__status=Approval.Status.PENDING,
    )
    return Exists(change_requests)


def _find_seats(actor: Actor, approvals: Iterable[Approval]) -> dict[UUID, str]:
    """Whose seat ``actor`` votes in, by the id of each approval that asks none of their groups."""
    others = [each.pk for each in approvals if each.approver_role not in actor.roles]
    if not others:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(SEATS_SQL, [others, int(actor.id)])
        return dict(cursor.fetchall())


def load_rows(actor: Actor, ids: Iterable[UUID]) -> list[WaitingRow]:
    """The rows of those of ``ids`` that ``actor`` may see, in the order of ``ids``."""
    ids = list(ids)
    rows = _annotate_rows(Approval.objects.filter(of_known_tasks(actor, "task"), pk__in=ids), actor)
    by_id = {row.pk: row for row in rows}
    revised = [row.task_id for row in by_id.values() if row.revision > 1]
    differences = diff_tasks(revised) if revised else {}
    seats = _find_seats(actor, by_id.values())
    return [
        _build_waiting_row(
            by_id[pk], actor, seats, difference=differences.get(by_id[pk].task_id, [])
        )
        for pk in ids
        if pk in by_id
    ]


def list_expired(actor: Actor) -> list[ExpiredRow]:
    """The ten approvals whose deadline passed last and that nobody processed yet."""
    overdue = Approval.objects.overdue().asking(actor).order_by("-expires_at")[:MAX_EXPIRED]
    rows = overdue.select_related("task").defer(*_large_columns("task"))
    starts: Any = rows.annotate(description_start=Left("task__description", SUMMARY_LENGTH * 2))
    return [ExpiredRow(each, summarize_task(each.task, each.description_start)) for each in starts]


def count_waiting(actor: Actor) -> int:
    """How many decisions wait for ``actor``, counted up to MAX_COUNT + 1."""
    # Every page of the admin counts: compiling the rule takes longer than the database's answer.
    return len(_waiting_ids(actor))


def _select_waiting_ids(actor: Actor) -> "QuerySet[Any]":
    waiting = Approval.objects.waiting_for(actor).not_snoozed_by(actor).order_by()
    return waiting.values_list("pk")[: MAX_COUNT + 1]


_waiting_ids: Prepared[tuple[UUID]] = Prepared(_select_waiting_ids, planned_anew=True)


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
    return _describe_task(description, task.from_role, task.to_role, task.task_type)


def _describe_task(description: str, from_role: str, to_role: str, task_type: str) -> str:
    words = description.strip()
    return words or f"{from_role} asks {to_role} for: {task_type.replace('_', ' ')}."


def format_reach(counts: Iterable[tuple[str, Any]]) -> str:
    """How many things a task affects, from the first of ``counts`` that is clearly a number."""
    for name, count in counts:
        if re.fullmatch(r"[0-9]{1,15}", str(count)):
            return f"{int(count):,} {COUNTED_MEMBERS[name][int(count) != 1]}"
    return ""


def select_for_export(
    actor: Actor, filters: Filters
) -> tuple["QuerySet[Any]", tuple[Column | str, ...]]:
    """All rows of a tab with its filters, and the columns of its CSV file."""
    rows: QuerySet[Any]
    match filters.tab:
        case "decided":
            rows = _latest_votes(actor)
        case "asked":
            rows = _latest_requests(actor)
        case _:
            rows = filters.select_waiting(actor)
    annotate, columns = CSV_COLUMNS[filters.tab]
    return annotate(rows.model.objects.filter(pk__in=rows.order_by().values("pk")), actor), columns


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
    votes = _annotate_votes(_latest_votes(actor), actor).order_by("-created_at", "-id")
    votes = votes.select_related("approval__task__agent", "approval__decided_by")
    return _slice_history(
        votes.defer(*_large_columns("approval__task")), number, _build_decided_row
    )


def _latest_requests(actor: Actor) -> "QuerySet[Task]":
    """The latest tasks routed by ``actor``'s agents or on ``actor``'s behalf."""
    values = [MAX_HISTORY, actor.id, MAX_HISTORY, actor.id]
    return Task.objects.filter(pk__in=RawSQL(REQUESTS_SQL, values))  # noqa: S611  # a constant


def _load_requests_page(actor: Actor, number: int) -> Page:
    """The tasks that the reader requested, newest first."""
    tasks = (
        _annotate_requests(_latest_requests(actor), actor)
        .annotate(is_visible=ExpressionWrapper(of_known_tasks(actor), BooleanField()))
        .select_related("agent")
        .order_by("-created_at", "-id")
    )
    return _slice_history(tasks.defer(*LARGE_COLUMNS), number, _build_request_row)


def _annotate_votes(votes: "QuerySet[Vote]", actor: Actor) -> "QuerySet[Vote]":
    """``votes`` annotated with what the summary of their task is made of."""
    return votes.annotate(**_summary_annotations("approval__task"))


def _annotate_requests(tasks: "QuerySet[Task]", actor: Actor) -> "QuerySet[Task]":
    """``tasks`` annotated with what a RequestRow shows, but for ``is_visible``."""
    waits_for = Approval.objects.pending().filter(task=OuterRef("pk")).order_by("approver_role")
    return tasks.annotate(
        **_summary_annotations(""),
        waits_for=ArraySubquery(waits_for.values("approver_role")[:5]),
    )


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
    # All that is pending of a task is of one decision.
    pending = Approval.objects.pending().filter(task=OuterRef("task")).order_by("approver_role")
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
    required = pending.annotate(yes=Coalesce(Subquery(yes_votes.values("n")), 0)).values(
        told=JSONObject(role=F("approver_role"), yes=F("yes"), needed=F("needed"))
    )
    claims = Claim.objects.filter(approval=OuterRef("pk"), claimed_at__gt=Now() - CLAIM_LASTS)
    rows = approvals.select_related("task__agent", "override__opened_by")
    return rows.defer(*_large_columns("task")).annotate(
        required=ArraySubquery(required),
        viewer_names=ArraySubquery(viewers.values("user__username")[:3]),
        changes_requested=_is_blocked(),
        claimed_by=Subquery(claims.values("user__username")),
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


def _build_waiting_row(
    approval: Any, actor: Actor, seats: Mapping[UUID, str], **extra: Any
) -> WaitingRow:
    own = {approval.approver_role, *actor.roles}
    required = [Required(**each, is_mine=each["role"] in own) for each in approval.required]
    return WaitingRow(
        approval=approval,
        payload=approval.small_payload,
        required=required,
        viewer_names=approval.viewer_names,
        changes_requested=approval.changes_requested,
        stands_in_for=seats.get(approval.pk, ""),
        claimed_by=approval.claimed_by or "",
        **extra,
        **_summarize_row(approval.task, approval),
    )


def join_required(required: Iterable[Required]) -> str:
    """``dba 0/1 or sre 0/1, legal 1/2``: the reader's own groups first."""
    required = list(required)
    own = " or ".join(str(each) for each in required if each.is_mine)
    return ", ".join(filter(None, [own, *(str(each) for each in required if not each.is_mine)]))


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
        "amount": (facts and facts.traits.get("amount")) or format_amount(row.amount, row.currency),
        "reach": format_reach((name, getattr(row, f"reach_{name}")) for name in COUNTED_MEMBERS),
    }


# The columns of each tab's CSV file: those of its table, then others that programs need.


def _show_request(path: str) -> tuple[Column, Column]:
    """The columns of a task that every tab begins with. ``path`` leads to the task."""
    names = ("description", "from_role", "to_role", "task_type")
    return (
        show("Request", *(f"{path}{name}" for name in names), format=_describe_task),
        show("Requested by", f"{path}agent__name", f"{path}from_role", format="{} as {}".format),
    )


def _join_amounts(amount: Any, currency: Any, *counts: Any) -> str:
    reach = format_reach(zip(COUNTED_MEMBERS, counts, strict=True))
    return " ".join(filter(None, [format_amount(amount, currency), reach]))


def _describe_required(required: list[dict[str, Any]]) -> str:
    return join_required(Required(**each, is_mine=False) for each in required)


def _describe_outcome(status: str, decider: str | None) -> str:
    return f"{status} by {decider}" if decider else status


def _describe_state(status: str, waits_for: list[str]) -> str:
    words = status.replace("_", " ")
    return f"{words}, waits for {', '.join(waits_for)}" if waits_for else words


AMOUNT_COLUMN = show(
    "Amount",
    "amount",
    "currency",
    *(f"reach_{name}" for name in COUNTED_MEMBERS),
    format=_join_amounts,
)
CSV_COLUMNS: dict[str, tuple[Callable[..., "QuerySet[Any]"], tuple[Column | str, ...]]] = {
    "waiting": (
        _annotate_rows,
        (
            _show_request("task__")[0],
            AMOUNT_COLUMN,
            show("Approvals", "required", format=_describe_required),
            show("Agent", "task__agent__name"),
            show("Requested", "created_at"),
            show("Due", "expires_at"),
            "task__from_role",
            "risk",
            "task__task_type",
            "id",
            "task_id",
        ),
    ),
    "decided": (
        _annotate_votes,
        (
            *_show_request("approval__task__"),
            show("Your vote", "choice", format=lambda choice: Vote.Choice(choice).label.lower()),
            AMOUNT_COLUMN,
            show(
                "Outcome",
                "approval__status",
                "approval__decided_by__username",
                format=_describe_outcome,
            ),
            "created_at",
            "approval__task__task_type",
            "id",
            "approval_id",
            "approval__task_id",
        ),
    ),
    "asked": (
        _annotate_requests,
        (
            *_show_request(""),
            show("State", "status", "waits_for", format=_describe_state),
            AMOUNT_COLUMN,
            show("Requested", "created_at"),
            "task_type",
            "to_role",
            "id",
        ),
    ),
}
"""By tab: what annotates its rows, and the columns."""
