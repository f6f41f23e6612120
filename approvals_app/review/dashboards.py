"""How the work goes: what waits and for how long, how fast people decide, and how they decide.

Each figure is one statement over a window of days, of what the reader may know: an approver sees
the groups that they are in, whoever may view everything sees all. Over a long window that is up to
a second of the database's time, which is spent once a minute for each that may see the same.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.cache import cache
from django.db import connection
from django.utils import timezone

from audit_app.base.actors import Actor
from audit_app.models import CommandRun

WINDOWS = (7, 30, 90)
MOST = 10
MOST_PEOPLE = 50
LATEST = 100
"""Voices of a person, the newest, of which half were given, and looked for, within a time."""

KEPT_SECONDS = 60
EXPIRY = ("expire_approvals", "expire_sessions", "remind_approvals", "release_leases")
AGES = (
    ("under an hour", timedelta(hours=1)),
    ("under a day", timedelta(days=1)),
    ("under three days", timedelta(days=3)),
    ("under a week", timedelta(days=7)),
)
BAR = 380
OLDER = "a week and more"

WAITING = """
SELECT approver_role, width_bucket(now() - created_at, %(ages)s::interval[]), count(*)
FROM approvals WHERE status = 'pending' AND (%(all)s OR approver_role = ANY(%(roles)s))
GROUP BY 1, 2
"""
DECIDED = """
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
ROUTED = """
SELECT agent.name, sum(asked)::int, sum(approved)::int, sum(refused)::int FROM (
    SELECT agent_id, count(*) AS asked, count(*) FILTER (WHERE verdict = 'approve') AS approved,
        count(*) FILTER (WHERE verdict = 'refuse') AS refused
    FROM tasks WHERE created_at > now() - %(window)s::interval
      AND (%(all)s OR to_role = ANY(%(roles)s)) GROUP BY 1) AS routed
JOIN agents AS agent ON agent.id = agent_id GROUP BY 1 ORDER BY 2 DESC, 1
"""
PACE = """
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
HOWS = (
    "approved",
    "rejected",
    "timed out",
    "escalated",
    "approved by the deadline",
    "break glass",
)


@dataclass(frozen=True, slots=True)
class Table:
    """Figures with their names: what a chart draws, and what is read instead of it."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    @property
    def total(self) -> int:
        return sum(int(row[1]) for row in self.rows)

    @property
    def bars(self) -> list[dict[str, Any]]:
        """The second column as bars from the left, in units of the drawing."""
        most = max((row[1] for row in self.rows), default=0) or 1
        return [
            {"name": row[0], "count": row[1], "y": index * 28, "text": index * 28 + 16}
            | {"width": round(BAR * row[1] / most), "end": 178 + round(BAR * row[1] / most)}
            for index, row in enumerate(self.rows[:MOST])
        ]

    @property
    def height(self) -> int:
        return 28 * min(len(self.rows), MOST)

    @property
    def columns_of_days(self) -> list[dict[str, Any]]:
        """Each day as a column of its parts (the third column and after), the first at the foot."""
        most = max((row[1] for row in self.rows), default=0) or 1
        room = 1180 // max(len(self.rows), 1)
        gap = max(2, room // 5)
        found = []
        for index, row in enumerate(self.rows):
            foot, parts = 110.0, []
            for how, count in zip(self.columns[2:], row[2:], strict=True):
                tall = 100 * count / most
                foot -= tall
                if count:
                    parts.append({"how": how, "count": count, "y": foot, "height": tall})
            place = {"x": 10 + index * room, "wide": room - gap}
            found.append({"day": row[0], "parts": parts} | place)
        return found


@dataclass(frozen=True, slots=True)
class Figures:
    days: int
    waiting_by_role: Table
    waiting_by_age: Table
    decisions: Table
    speed: Table
    agents: Table
    policies: Table
    pace: Table
    runs: list[CommandRun]
    at: datetime


def lately(actor: Actor, days: int) -> Figures:
    """``figures`` as they were KEPT_SECONDS ago at most, where this process read them for whoever
    may see the same."""
    scope = repr((actor.auditor, actor.roles, actor.id, days))
    key = f"dashboards:{hashlib.sha256(scope.encode()).hexdigest()}"
    found: Figures | None = cache.get(key)
    if found is None:
        found = figures(actor, days)
        cache.set(key, found, KEPT_SECONDS)
    return found


def figures(actor: Actor, days: int) -> Figures:
    """All of it over the last ``days`` days, in five statements."""
    scope = {
        "all": actor.auditor,
        "roles": list(actor.roles),
        "me": int(actor.id),
        "window": timedelta(days=days),
        "most": MOST_PEOPLE,
        "latest": LATEST,
        "ages": [age for _, age in AGES],
    }
    waiting = _rows(WAITING, scope)
    decided = _rows(DECIDED, scope)
    routed = _rows(ROUTED, scope)
    return Figures(
        days=days,
        waiting_by_role=Table(("Group", "Waiting"), _summed(waiting, 0)),
        waiting_by_age=Table(("Age", "Waiting"), _by_age(waiting)),
        decisions=Table(("Day", "Decisions", *HOWS), _by_day(decided, days)),
        speed=Table(("Type", "Decided", "Median", "p95"), _by_type(decided)),
        agents=Table(("Agent", "Tasks"), [row[:2] for row in routed[:MOST]]),
        policies=Table(
            ("By policies, without a human", "Tasks"),
            [("approved", sum(r[2] for r in routed)), ("refused", sum(r[3] for r in routed))],
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
            [_paced(row) for row in _rows(PACE, scope)],
        ),
        runs=list(CommandRun.objects.filter(command__in=EXPIRY).order_by("command")),
        at=timezone.now(),
    )


def _rows(statement: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def _summed(rows: Sequence[tuple[Any, ...]], by: int) -> list[tuple[Any, ...]]:
    sums: dict[Any, int] = {}
    for row in rows:
        sums[row[by]] = sums.get(row[by], 0) + row[-1]
    return sorted(sums.items(), key=lambda pair: (-pair[1], pair[0]))


def _by_age(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    sums = dict(_summed(rows, 1))
    names = [name for name, _ in AGES] + [OLDER]
    return [(name, sums.get(index, 0)) for index, name in enumerate(names)]


def _by_day(rows: Sequence[tuple[Any, ...]], length_in_days: int) -> list[tuple[Any, ...]]:
    """Each day of the window (UTC), also where nothing was decided; nothing where it is empty."""
    today = datetime.now(UTC).date()
    last = (today - timedelta(days=ago) for ago in range(length_in_days - 1, -1, -1))
    days: dict[str, dict[str, int]] = {day.isoformat(): {} for day in last}
    for what, name, how, count, *_ in rows:
        if what == "day":
            days.setdefault(name, {})[how] = int(count)
    if not any(days.values()):
        return []
    return [
        (day, sum(hows.values()), *(hows.get(how, 0) for how in HOWS))
        for day, hows in sorted(days.items())
    ]


def _by_type(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    found = [
        (name, int(count), length(half), length(most))
        for what, name, _, count, half, most in rows
        if what == "type"
    ]
    return sorted(found, key=lambda row: (-row[1], row[0]))[:MOST]


def _paced(row: tuple[Any, ...]) -> tuple[Any, ...]:
    name, voices, yes, withdrawn, answered, looked = row
    share = f"{float(yes):.0%}"
    return name, voices, share, withdrawn, length(answered), length(looked)


def length(seconds: float | None) -> str:
    """A length of time as people say it, to two figures or so."""
    if seconds is None:
        return ""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
