"""The dashboards: what is pending and for how long, how fast and how people decide.

Each figure is one statement over a window of days, limited to what the reader may see: approvers
see their own groups, auditors see everything. A long window can cost the database a second, so the
figures are cached for a minute per set of rights.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.cache import cache
from django.db import connection
from django.utils import timezone

from approvals_app.decisions.voters import Undecidable, find_undecidable
from audit_app.base.actors import Actor
from audit_app.models import CommandRun

WINDOWS = (7, 30, 90)
MAX_ROWS = 10
MAX_PEOPLE = 50
MAX_KINDS = 200
"""How many kinds of waiting requests are searched, oldest first, for those nobody can decide."""
LATEST_VOTES = 100
"""How many of a person's newest votes the median times are computed from."""

CACHE_SECONDS = 60
SCHEDULED_COMMANDS = (
    "expire_approvals",
    "expire_sessions",
    "remind_approvals",
    "release_leases",
    "purge",
)
TIMEOUT_JOB = "expire_approvals"
LATE_AFTER = timedelta(minutes=10)
"""After this long without a good run of TIMEOUT_JOB, which runs each minute, there is an alarm."""

AGES = (
    ("under an hour", timedelta(hours=1)),
    ("under a day", timedelta(days=1)),
    ("under three days", timedelta(days=3)),
    ("under a week", timedelta(days=7)),
)
BAR_WIDTH = 380
OLDEST_AGE = "a week and more"

# Each statement filters by what the reader may see: %(all)s is true for auditors.
WAITING_SQL = """
SELECT approver_role, width_bucket(now() - created_at, %(ages)s::interval[]), count(*)
FROM approvals WHERE status = 'pending' AND (%(all)s OR approver_role = ANY(%(roles)s))
GROUP BY 1, 2
"""
# MATERIALIZED: both halves of the UNION read it, and the join must not run twice.
DECIDED_SQL = """
WITH ended AS MATERIALIZED (
    SELECT task.task_type, (at AT TIME ZONE 'UTC')::date AS day, how, CASE
        WHEN decided_by_id IS NOT NULL THEN extract(epoch FROM at - told.created_at)::float4
        END AS seconds
    FROM (SELECT task_id, approval.created_at, decided_by_id,
            coalesce(decision_at, updated_at) AS at, CASE
            WHEN status = 'rejected' THEN 'rejected'
            WHEN status = 'expired' AND escalated_to_id IS NOT NULL THEN 'escalated'
            WHEN status = 'expired' THEN 'timed out'
            WHEN decided_by_id IS NULL THEN 'approved by the deadline'
            WHEN override_id IS NULL AND (task_id, decided_by_id) IN (
                SELECT task_id, opened_by_id FROM overrides) THEN 'break glass'
            ELSE 'approved' END AS how
        FROM approvals AS approval
        WHERE created_at > now() - %(window)s::interval
          AND status IN ('approved', 'rejected', 'expired')
          AND (%(all)s OR approver_role = ANY(%(roles)s))) AS told
    JOIN tasks AS task ON task.id = told.task_id
)
SELECT 'day', day::text, how, count(*)::float8, NULL, NULL FROM ended GROUP BY day, how
UNION ALL
SELECT 'type', task_type, NULL, count(*)::float8,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds),
    percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds)
    FROM ended WHERE seconds IS NOT NULL GROUP BY task_type
"""
# Requests that differ in nothing on which the right to vote depends stand for each other.
ALIKE_SQL = """
SELECT (array_agg(asked.id ORDER BY asked.created_at))[1], min(task_type), min(agent.name), count(*)
FROM (
    SELECT approval.*, task.agent_id, task.task_type, upper(task.on_behalf_of) AS on_behalf_of,
        CASE WHEN approval.revision > 1 OR override_id IS NOT NULL OR EXISTS (
            SELECT FROM approvals AS other JOIN votes ON votes.approval_id = other.id
            WHERE other.task_id = task.id) THEN approval.id END AS alone
    FROM approvals AS approval JOIN tasks AS task ON task.id = approval.task_id
    WHERE approval.status = 'pending' AND (%(all)s OR approver_role = ANY(%(roles)s))
) AS asked JOIN agents AS agent ON agent.id = asked.agent_id
GROUP BY approver_role, needed, agent_id, on_behalf_of, requested_by_id, alone
ORDER BY min(asked.created_at) LIMIT %(kinds)s
"""
ROUTED_SQL = """
SELECT agent.name, sum(asked)::int, sum(approved)::int, sum(refused)::int FROM (
    SELECT agent_id, count(*) AS asked, count(*) FILTER (WHERE verdict = 'approve') AS approved,
        count(*) FILTER (WHERE verdict = 'refuse') AS refused
    FROM tasks WHERE created_at > now() - %(window)s::interval
      AND (%(all)s OR to_role = ANY(%(roles)s)) GROUP BY 1) AS routed
JOIN agents AS agent ON agent.id = agent_id GROUP BY 1 ORDER BY 2 DESC, 1
"""
# The medians look at LATEST_VOTES per person: the join with audit_events costs too much for all.
PACE_SQL = """
WITH busiest AS (
    SELECT voter_id, count(*) AS voices, avg((choice = 'yes')::int) AS yes,
        count(*) FILTER (WHERE status = 'withdrawn') AS withdrawn
    FROM votes WHERE created_at > now() - %(window)s::interval AND (%(all)s OR voter_id = %(me)s)
    GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT %(most)s)
SELECT person.username, voices, yes, withdrawn, answered, looked
FROM busiest JOIN auth_user AS person ON person.id = voter_id CROSS JOIN LATERAL (
    SELECT percentile_cont(0.5) WITHIN GROUP (
            ORDER BY extract(epoch FROM vote.created_at - approval.created_at)) AS answered,
        percentile_cont(0.5) WITHIN GROUP (
            ORDER BY (event.metadata ->> 'looked_seconds')::float8) AS looked
    FROM (SELECT id, approval_id, created_at FROM votes
        WHERE voter_id = busiest.voter_id AND created_at > now() - %(window)s::interval
        ORDER BY created_at DESC LIMIT %(latest)s) AS vote
    JOIN approvals AS approval ON approval.id = vote.approval_id
    LEFT JOIN audit_events AS event
        ON event.subject_type = 'vote' AND event.subject_id = vote.id AND event.seq = 1) AS pace
ORDER BY 2 DESC, 1
"""
OUTCOMES = (
    "approved",
    "rejected",
    "timed out",
    "escalated",
    "approved by the deadline",
    "break glass",
)


@dataclass(frozen=True, slots=True)
class Table:
    """Named figures, for a chart and for the table that says the same in text."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    @property
    def total(self) -> int:
        return sum(int(row[1]) for row in self.rows)

    @property
    def bars(self) -> list[dict[str, Any]]:
        """The second column as horizontal bars, in the chart's units."""
        largest = max((row[1] for row in self.rows), default=0) or 1
        return [
            {"name": row[0], "count": row[1], "y": index * 28, "text": index * 28 + 16}
            | {
                "width": round(BAR_WIDTH * row[1] / largest),
                "end": 178 + round(BAR_WIDTH * row[1] / largest),
            }
            for index, row in enumerate(self.rows[:MAX_ROWS])
        ]

    @property
    def height(self) -> int:
        return 28 * min(len(self.rows), MAX_ROWS)

    @property
    def columns_of_days(self) -> list[dict[str, Any]]:
        """Each day as a stacked column of its outcomes (third column on), the first at the foot."""
        largest = max((row[1] for row in self.rows), default=0) or 1
        room = 1180 // max(len(self.rows), 1)
        gap = max(2, room // 5)  # at 90 days a column is 13 units wide
        days = []
        for index, row in enumerate(self.rows):
            foot, parts = 110.0, []
            for outcome, count in zip(self.columns[2:], row[2:], strict=True):
                height = 88 * count / largest
                foot -= height
                if count:
                    parts.append({"how": outcome, "count": count, "y": foot, "height": height})
            position = {"x": 10 + index * room, "wide": room - gap}
            label = {"count": row[1], "middle": position["x"] + (room - gap) / 2, "top": foot - 4}
            days.append({"day": row[0], "parts": parts} | position | label)
        return days


@dataclass(frozen=True, slots=True)
class Stuck:
    """Waiting requests of one kind that can't be decided; ``oldest`` is the oldest of them."""

    oldest: Undecidable
    task_type: str
    agent: str
    waiting: int


@dataclass(frozen=True, slots=True)
class Figures:
    days: int
    waiting_by_role: Table
    waiting_by_age: Table
    stuck: list[Stuck]
    decisions: Table
    speed: Table
    agents: Table
    policies: Table
    pace: Table
    runs: list[CommandRun]
    at: datetime

    @property
    def alarm(self) -> str:
        """What is wrong with the job on which deadlines depend; "" where nothing is."""
        return describe_stopped_jobs(self.runs)


def load_figures(actor: Actor, days: int) -> Figures:
    """The figures over ``days`` days, at most CACHE_SECONDS old."""
    # Readers with the same rights share a cache entry.
    scope = repr((actor.auditor, actor.roles, actor.id, days))
    key = f"dashboards:{hashlib.sha256(scope.encode()).hexdigest()}"
    figures: Figures | None = cache.get(key)
    if figures is None:
        figures = compute_figures(actor, days)
        cache.set(key, figures, CACHE_SECONDS)
    return figures


def compute_figures(actor: Actor, days: int) -> Figures:
    """All figures over the last ``days`` days, in seven statements."""
    scope = {
        "all": actor.auditor,
        "roles": list(actor.roles),
        "me": int(actor.id),
        "window": timedelta(days=days),
        "most": MAX_PEOPLE,
        "kinds": MAX_KINDS,
        "latest": LATEST_VOTES,
        "ages": [age for _, age in AGES],
    }
    waiting = _fetch_rows(WAITING_SQL, scope)
    decided = _fetch_rows(DECIDED_SQL, scope)
    routed = _fetch_rows(ROUTED_SQL, scope)
    return Figures(
        days=days,
        waiting_by_role=Table(("Group", "Waiting"), _sum_by(waiting, 0)),
        waiting_by_age=Table(("Age", "Waiting"), _count_by_age(waiting)),
        stuck=_find_stuck(scope),
        decisions=Table(("Day", "Decisions", *OUTCOMES), _count_by_day(decided, days)),
        speed=Table(("Type", "Decided", "Median", "p95"), _summarize_by_type(decided)),
        agents=Table(("Agent", "Tasks"), [row[:2] for row in routed[:MAX_ROWS]]),
        policies=Table(
            ("By policies, without a human", "Tasks"),
            _count_by_policies(routed),
        ),
        pace=Table(
            (
                "Person",
                "Votes",
                "Approval rate",
                "Withdrawn",
                "Median answer time",
                "Median view time",
            ),
            [_format_pace(row) for row in _fetch_rows(PACE_SQL, scope)],
        ),
        runs=list(CommandRun.objects.filter(command__in=SCHEDULED_COMMANDS).order_by("command")),
        at=timezone.now(),
    )


def describe_stopped_jobs(runs: Iterable[CommandRun] | None = None) -> str:
    """What is wrong with the job on which deadlines depend; "" where nothing is.

    ``runs``: the last run of each command, if they are at hand.
    """
    rows = CommandRun.objects.filter(command=TIMEOUT_JOB) if runs is None else runs
    last = next((run.succeeded_at for run in rows if run.command == TIMEOUT_JOB), None)
    if last is None:
        return f"{TIMEOUT_JOB} has never run: expired requests will not escalate."
    late = timezone.now() - last
    if late <= LATE_AFTER:
        return ""
    ago = format_duration(late.total_seconds())
    return f"{TIMEOUT_JOB} last ran {ago} ago: expired requests do not escalate."


def _find_stuck(scope: dict[str, Any]) -> list[Stuck]:
    alike = {oldest: rest for oldest, *rest in _fetch_rows(ALIKE_SQL, scope)}
    undecidable = find_undecidable(alike)
    return [
        Stuck(undecidable[oldest], *alike[oldest]) for oldest in alike if oldest in undecidable
    ][:MAX_ROWS]


def _fetch_rows(statement: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _sum_by(rows: Sequence[tuple[Any, ...]], by: int) -> list[tuple[Any, ...]]:
    sums: dict[Any, int] = {}
    for row in rows:
        sums[row[by]] = sums.get(row[by], 0) + row[-1]
    return sorted(sums.items(), key=lambda pair: (-pair[1], pair[0]))


def _count_by_policies(routed: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """How many tasks policies approved and refused by themselves; [] where none."""
    approved, refused = sum(row[2] for row in routed), sum(row[3] for row in routed)
    return [("approved", approved), ("refused", refused)] if approved or refused else []


def _count_by_age(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """How many wait, by age; [] where none do."""
    if not rows:
        return []
    sums = dict(_sum_by(rows, 1))
    names = [name for name, _ in AGES] + [OLDEST_AGE]
    return [(name, sums.get(index, 0)) for index, name in enumerate(names)]


def _count_by_day(rows: Sequence[tuple[Any, ...]], length_in_days: int) -> list[tuple[Any, ...]]:
    """Every day of the window (UTC) with its decisions; [] where nothing was decided at all."""
    today = datetime.now(UTC).date()
    dates = (today - timedelta(days=days_ago) for days_ago in range(length_in_days - 1, -1, -1))
    days: dict[str, dict[str, int]] = {day.isoformat(): {} for day in dates}
    for kind, name, outcome, count, *_ in rows:
        if kind == "day":
            days.setdefault(name, {})[outcome] = int(count)
    if not any(days.values()):
        return []
    return [
        (day, sum(counts.values()), *(counts.get(outcome, 0) for outcome in OUTCOMES))
        for day, counts in sorted(days.items())
    ]


def _summarize_by_type(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    types = [
        (name, int(count), format_duration(median), format_duration(p95))
        for kind, name, _, count, median, p95 in rows
        if kind == "type"
    ]
    return sorted(types, key=lambda row: (-row[1], row[0]))[:MAX_ROWS]


def _format_pace(row: tuple[Any, ...]) -> tuple[Any, ...]:
    name, votes, yes, withdrawn, answer_time, view_time = row
    share = f"{float(yes):.0%}"
    return name, votes, share, withdrawn, format_duration(answer_time), format_duration(view_time)


def format_duration(seconds: float | None) -> str:
    """A duration in words, to about two digits: "3.5 h"; "" for None."""
    if seconds is None:
        return ""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
