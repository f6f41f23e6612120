"""How the work goes: what waits and for how long, how fast people decide, and how they decide.

Each figure is one statement over a window of days, of what the reader may know: an approver sees
the groups that they are in, whoever may view everything sees all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from audit_app.actors import Actor
from audit_app.models import CommandRun

WINDOWS = (7, 30, 90)
MOST = 10
MOST_PEOPLE = 50
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
    SELECT approval.id, task.task_type, approval.status, approval.decided_by_id,
        approval.override_id, approval.escalated_to_id, task.revision, approval.task_id,
        coalesce(approval.decision_at, approval.updated_at) AS at, approval.created_at
    FROM approvals AS approval JOIN tasks AS task ON task.id = approval.task_id
    WHERE approval.created_at > now() - %(window)s::interval
      AND approval.status IN ('approved', 'rejected', 'expired')
      AND (%(all)s OR approval.approver_role = ANY(%(roles)s))
), told AS (
    SELECT ended.*, CASE
        WHEN status = 'rejected' THEN 'rejected'
        WHEN status = 'expired' AND escalated_to_id IS NOT NULL THEN 'escalated'
        WHEN status = 'expired' THEN 'timed out'
        WHEN decided_by_id IS NULL THEN 'approved by the deadline'
        WHEN override_id IS NULL AND EXISTS (SELECT FROM overrides
            WHERE overrides.task_id = ended.task_id AND opened_by_id = decided_by_id)
            THEN 'break glass'
        ELSE 'approved' END AS how
    FROM ended
)
SELECT 'day', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD'), how, count(*)::float8, NULL, NULL
    FROM told GROUP BY 2, 3
UNION ALL
SELECT 'type', task_type, NULL, count(*)::float8,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM at - created_at)),
    percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM at - created_at))
    FROM told WHERE decided_by_id IS NOT NULL GROUP BY 2
"""
ROUTED = """
SELECT agent.name, count(*), count(*) FILTER (WHERE task.verdict = 'approve'),
    count(*) FILTER (WHERE task.verdict = 'refuse')
FROM tasks AS task JOIN agents AS agent ON agent.id = task.agent_id
WHERE task.created_at > now() - %(window)s::interval AND (%(all)s OR task.to_role = ANY(%(roles)s))
GROUP BY 1 ORDER BY 2 DESC, 1
"""
PACE = """
SELECT person.username, count(*), avg((vote.choice = 'yes')::int),
    count(*) FILTER (WHERE vote.status = 'withdrawn'),
    percentile_cont(0.5) WITHIN GROUP (
        ORDER BY extract(epoch FROM vote.created_at - approval.created_at)),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY (event.metadata ->> 'looked_seconds')::float8)
FROM votes AS vote JOIN auth_user AS person ON person.id = vote.voter_id
    JOIN approvals AS approval ON approval.id = vote.approval_id
    LEFT JOIN audit_events AS event
        ON event.subject_type = 'vote' AND event.subject_id = vote.id AND event.seq = 1
WHERE vote.created_at > now() - %(window)s::interval AND (%(all)s OR vote.voter_id = %(me)s)
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT %(most)s
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
        wide = min(60, 1180 // max(len(self.rows), 1))
        found = []
        for index, row in enumerate(self.rows):
            foot, parts = 110.0, []
            for how, count in zip(self.columns[2:], row[2:], strict=True):
                tall = 100 * count / most
                foot -= tall
                if count:
                    parts.append({"how": how, "count": count, "y": foot, "height": tall})
            found.append({"day": row[0], "x": 10 + index * wide, "wide": wide - 2, "parts": parts})
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


def figures(actor: Actor, days: int) -> Figures:
    """All of it over the last ``days`` days, in six statements."""
    scope = {
        "all": actor.auditor,
        "roles": list(actor.roles),
        "me": int(actor.id),
        "window": timedelta(days=days),
        "most": MOST_PEOPLE,
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
        speed=Table(("Type", "Decided", "Half within", "95 % within"), _by_type(decided)),
        agents=Table(("Agent", "Asked"), [row[:2] for row in routed[:MOST]]),
        policies=Table(
            ("By policies, without a human", "Tasks"),
            [("approved", sum(r[2] for r in routed)), ("refused", sum(r[3] for r in routed))],
        ),
        pace=Table(
            ("Person", "Voices", "Share of yes", "Taken back", "Answered within", "Looked for"),
            [_paced(row) for row in _rows(PACE, scope)],
        ),
        runs=list(CommandRun.objects.filter(command__in=EXPIRY).order_by("command")),
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
