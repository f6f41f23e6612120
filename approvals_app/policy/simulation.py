"""Compares what policies would decide on recent tasks with what was decided."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import orjson
from django.conf import settings
from django.db import connection

from approvals_app.policy.language import Policy, evaluate
from audit_app.base.connections import release_connection
from audit_app.trail.operation import clock
from sessions_app.gate import Outcome, PolicyDecision
from sessions_app.models import Task

EXAMPLES: Final = 50
CHUNK: Final = 2_000
PAST = """
SELECT task.id, task.payload, agent.name, task.verdict, task.policy,
    extract(hour FROM task.created_at AT TIME ZONE 'UTC')::int, task.created_at
FROM tasks AS task JOIN agents AS agent ON agent.id = task.agent_id
WHERE task.created_at >= %(since)s AND task.task_type <> %(notification)s
    AND (task.created_at, task.id) < (%(before)s, %(id)s)
ORDER BY task.created_at DESC, task.id DESC LIMIT %(limit)s
"""
LAST_ID: Final = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class ChangedTask:
    """One task on which the policies would decide otherwise."""

    task_id: UUID
    task_type: str
    before: str
    after: str
    policy: str
    why: str


@dataclass(slots=True)
class Report:
    """Counts over ``tasks`` past tasks.

    ``moves`` counts pairs (outcome then, outcome now); ``asked`` counts the people who would be
    asked, by role and hour of the day (UTC).
    """

    days: int
    tasks: int = 0
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    policies: Counter[str] = field(default_factory=Counter)
    asked: Counter[tuple[str, int]] = field(default_factory=Counter)
    changed: list[ChangedTask] = field(default_factory=list)
    failed: int = 0

    @property
    def pairs(self) -> list[tuple[tuple[str, str], int]]:
        return sorted(self.moves.items())

    @property
    def changes(self) -> int:
        return sum(count for (before, after), count in self.moves.items() if before != after)

    @property
    def humans(self) -> int:
        return self.asked.total()

    def by_role(self) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for (role, _), count in self.asked.items():
            counts[role] += count
        return dict(counts.most_common())

    def by_hour(self) -> list[int]:
        hours = [0] * 24
        for (_, hour), count in self.asked.items():
            hours[hour] += count
        return hours

    def as_dict(self) -> dict[str, Any]:
        return {
            "days": self.days,
            "tasks": self.tasks,
            "changes": self.changes,
            "moves": [
                {"before": before, "after": after, "tasks": count}
                for (before, after), count in self.pairs
            ],
            "policies": dict(self.policies.most_common()),
            "humans_asked": self.humans,
            "by_role": self.by_role(),
            "by_hour": self.by_hour(),
            "conditions_failed": self.failed,
            "changed": [
                {
                    "task_id": str(change.task_id),
                    "task_type": change.task_type,
                    "before": change.before,
                    "after": change.after,
                    "policy": change.policy,
                    "why": change.why,
                }
                for change in self.changed
            ],
        }


def simulate(
    policies: Sequence[Policy],
    *,
    days: int,
    most: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Evaluate ``policies`` on the tasks of the last ``days``, newest first, ``most`` at most.

    A revised task is evaluated by its last revision. Changes nothing and takes no locks.
    """
    report = Report(days)
    ordered = sorted(policies, key=lambda policy: (policy.priority, policy.name))
    for rows in _fetch_past_tasks(days, most):
        for row in rows:
            _evaluate_row(row, ordered, report)
        progress(f"Judged {report.tasks:,} tasks")
    return report


def _evaluate_row(row: tuple[Any, ...], policies: Sequence[Policy], report: Report) -> None:
    task_id, payload, agent, before, _, hour = row
    facts = orjson.loads(payload)
    facts["agent"] = agent
    decision = evaluate(policies, facts, settings.APPROVAL_DEFAULT)
    before, after = before or "unknown", decision.kind.value
    report.tasks += 1
    report.moves[before, after] += 1
    report.policies[decision.policy or "none"] += 1
    report.failed += "could not be evaluated" in decision.why
    for role, count in _people_asked(decision, facts):
        report.asked[role, hour] += count
    if before != after and len(report.changed) < EXAMPLES:
        report.changed.append(
            ChangedTask(task_id, facts["task_type"], before, after, decision.policy, decision.why)
        )


def _people_asked(decision: PolicyDecision, facts: dict[str, Any]) -> Iterable[tuple[str, int]]:
    if decision.kind is not Outcome.REQUIRE:
        return ()
    return [(each.role, each.count) for each in decision.plan.requirements_for(facts["to_role"])]


def _fetch_past_tasks(days: int, most: int | None) -> Iterator[list[tuple[Any, ...]]]:
    # By key and not by a cursor, whose transaction would hold a connection during the evaluation.
    now = clock()
    before, last, remaining = now, LAST_ID, most
    while remaining is None or remaining > 0:
        limit = CHUNK if remaining is None else min(CHUNK, remaining)
        params: dict[str, Any] = {
            "since": now - timedelta(days=days),
            "notification": Task.NOTIFICATION,
        }
        with connection.cursor() as cursor:
            cursor.execute(PAST, params | {"before": before, "id": last, "limit": limit})
            rows = cursor.fetchall()
        release_connection()
        if rows:
            yield [row[:-1] for row in rows]
            before, last = rows[-1][-1], rows[-1][0]
        if len(rows) < limit:
            return
        if remaining is not None:
            remaining -= limit
