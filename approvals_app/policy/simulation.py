"""Compares what policies would decide on recent tasks, and whom ask, with what happened."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import orjson
from django.conf import settings
from django.db import connection

from approvals_app.payload.summary import summarize_text
from approvals_app.policy.clauses import find_gaps
from approvals_app.policy.facts import PayloadFacts
from approvals_app.policy.language import Policy, evaluate
from audit_app.base.connections import release_connection
from audit_app.base.text_safety import shorten
from audit_app.trail.operation import clock
from sessions_app.gate import Outcome, PolicyDecision
from sessions_app.models import Task

LISTED: Final = 100
"""Tasks of each kind that a report lists."""
CHUNK: Final = 2_000
PAST = """
SELECT task.id, task.payload, agent.name, task.verdict, task.policy, task.created_at,
    (SELECT jsonb_object_agg(approval.approver_role, approval.needed)
        FROM approvals AS approval
        WHERE approval.task_id = task.id AND approval.revision = task.revision
            AND approval.requested_by_id IS NULL AND approval.override_id IS NULL
            AND NOT EXISTS (SELECT FROM approvals AS earlier
                WHERE earlier.escalated_to_id = approval.id))::text
FROM tasks AS task JOIN agents AS agent ON agent.id = task.agent_id
WHERE task.created_at >= %(since)s AND task.task_type <> %(notification)s
    AND (task.created_at, task.id) < (%(before)s, %(id)s) AND task.erasure IS NULL
ORDER BY task.created_at DESC, task.id DESC LIMIT %(limit)s
"""
LAST_ID: Final = UUID(int=2**128 - 1)
LONGEST_TITLE: Final = 160


@dataclass(frozen=True, slots=True)
class Consequence:
    """What policies say of a task: the outcome, and how many of which groups they ask.

    As a text, for example ``dba 1, sre 1``, ``refused``.
    """

    outcome: str
    asked: tuple[tuple[str, int], ...] = ()

    @classmethod
    def build(cls, outcome: str, asked: Mapping[str, int]) -> "Consequence":
        return cls(outcome, tuple(sorted(asked.items())))

    def __str__(self) -> str:
        if self.asked:
            return ", ".join(f"{role} {count}" for role, count in self.asked)
        return OUTCOMES.get(self.outcome, self.outcome)


OUTCOMES: Final = {
    Outcome.APPROVE.value: "approved without a human",
    Outcome.REFUSE.value: "refused",
}


@dataclass(frozen=True, slots=True)
class PastTask:
    """A task as it stands now: its last revision, what was decided on it, and whom that asked."""

    task_id: UUID
    payload: str
    facts: PayloadFacts
    verdict: str
    policy: str
    asked: dict[str, int]
    created_at: datetime

    @property
    def title(self) -> str:
        """The summary's line, or else the agent's description or the task's type."""
        line = summarize_text(self.payload).line
        return line or shorten(self.facts["description"] or self.facts["task_type"], LONGEST_TITLE)


@dataclass(frozen=True, slots=True)
class ChangedTask:
    """One task on which the policies would decide otherwise, or ask others."""

    task_id: UUID
    task_type: str
    title: str
    before: Consequence
    after: Consequence
    policy: str
    why: str

    def as_dict(self) -> dict[str, Any]:
        return {
            "task_id": str(self.task_id),
            "task_type": self.task_type,
            "title": self.title,
            "before": self.before.outcome,
            "after": self.after.outcome,
            "approvers_before": dict(self.before.asked),
            "approvers_after": dict(self.after.asked),
            "policy": self.policy,
            "why": self.why,
        }


@dataclass(slots=True)
class Report:
    """Counts over ``tasks`` past tasks.

    ``moves`` counts pairs (consequence then, consequence now); ``needed`` the approvals that would
    be needed, by role and hour of the day (UTC), ``needed_before`` those that were, by role;
    ``unmatched`` the tasks that no policy matches, by type. ``changed`` and ``reassigned`` have the
    latest LISTED tasks with another outcome, and with other approvers. ``is_capped``: there may be
    more tasks. ``gaps`` are sentences on amounts that no policy matches.
    """

    days: int
    tasks: int = 0
    moves: Counter[tuple[Consequence, Consequence]] = field(default_factory=Counter)
    policies: Counter[str] = field(default_factory=Counter)
    needed: Counter[tuple[str, int]] = field(default_factory=Counter)
    needed_before: Counter[str] = field(default_factory=Counter)
    unmatched: Counter[str] = field(default_factory=Counter)
    changed: list[ChangedTask] = field(default_factory=list)
    reassigned: list[ChangedTask] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    failed: int = 0
    is_capped: bool = False

    @property
    def changes(self) -> int:
        """How many outcomes change."""
        return sum(
            count
            for (before, after), count in self.moves.items()
            if before.outcome != after.outcome
        )

    @property
    def other_approvers(self) -> int:
        """How many tasks have the same outcome, and other approvers."""
        return sum(
            count
            for (before, after), count in self.moves.items()
            if before.outcome == after.outcome and before != after
        )

    @property
    def approvals_needed(self) -> int:
        return self.needed.total()

    @property
    def headline(self) -> str:
        """The report in one line."""
        window = "day" if self.days == 1 else f"{self.days} days"
        changes = "outcome changes" if self.changes == 1 else "outcomes change"
        others = "task gets" if self.other_approvers == 1 else "tasks get"
        approvals = "approval" if self.approvals_needed == 1 else "approvals"
        return (
            f"{self.tasks:,} {'task' if self.tasks == 1 else 'tasks'} from the last {window}: "
            f"{self.changes:,} {changes}, {self.other_approvers:,} {others} other approvers, "
            f"{self.approvals_needed:,} {approvals} needed"
        )

    def list_moves(self) -> list[tuple[Consequence, Consequence, int]]:
        """The pairs of ``moves`` that differ, the most frequent first."""
        ordered = sorted(self.moves.items(), key=lambda move: (-move[1], *map(str, move[0])))
        return [(before, after, count) for (before, after), count in ordered if before != after]

    def by_outcome(self) -> list[tuple[tuple[str, str], int]]:
        """How many tasks had which outcome, and would have which."""
        pairs: Counter[tuple[str, str]] = Counter()
        for (before, after), count in self.moves.items():
            pairs[before.outcome, after.outcome] += count
        return sorted(pairs.items())

    def by_role(self) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for (role, _), count in self.needed.items():
            counts[role] += count
        return dict(counts.most_common())

    def by_hour(self) -> list[int]:
        hours = [0] * 24
        for (_, hour), count in self.needed.items():
            hours[hour] += count
        return hours

    def as_dict(self) -> dict[str, Any]:
        return {
            "days": self.days,
            "tasks": self.tasks,
            "changes": self.changes,
            "other_approvers": self.other_approvers,
            "approvals_needed": self.approvals_needed,
            "moves": [
                {"before": before, "after": after, "tasks": count}
                for (before, after), count in self.by_outcome()
            ],
            "approvers": [
                {"before": dict(before.asked), "after": dict(after.asked), "tasks": count}
                for before, after, count in self.list_moves()
                if before.outcome == after.outcome
            ],
            "policies": dict(self.policies.most_common()),
            "unmatched": dict(self.unmatched.most_common()),
            "by_role_before": dict(self.needed_before.most_common()),
            "by_role": self.by_role(),
            "by_hour": self.by_hour(),
            "gaps": self.gaps,
            "conditions_failed": self.failed,
            "changed": [each.as_dict() for each in self.changed],
            "reassigned": [each.as_dict() for each in self.reassigned],
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
    ordered = sorted(policies, key=lambda policy: (policy.priority, policy.name))
    report = Report(days, gaps=find_gaps(ordered))
    for task in fetch_past_tasks(days, most):
        _evaluate_task(task, ordered, report)
        if report.tasks % CHUNK == 0:
            progress(f"Evaluated {report.tasks:,} tasks")
    report.is_capped = report.tasks == most
    return report


def _evaluate_task(task: PastTask, policies: Sequence[Policy], report: Report) -> None:
    decision = evaluate(policies, task.facts, settings.APPROVAL_DEFAULT)
    asked = _count_asked(decision, task.facts)
    before = Consequence.build(task.verdict or "unknown", task.asked)
    after = Consequence.build(decision.kind.value, asked)
    report.tasks += 1
    report.moves[before, after] += 1
    report.policies[decision.policy or "none"] += 1
    report.failed += "could not be evaluated" in decision.why
    if not decision.policy:
        report.unmatched[task.facts["task_type"]] += 1
    report.needed_before.update(task.asked)
    for role, count in asked.items():
        report.needed[role, task.created_at.hour] += count
    listed = report.reassigned if before.outcome == after.outcome else report.changed
    if before != after and len(listed) < LISTED:
        listed.append(_describe_change(task, before, after, decision))


def _describe_change(
    task: PastTask, before: Consequence, after: Consequence, decision: PolicyDecision
) -> ChangedTask:
    task_type = task.facts["task_type"]
    return ChangedTask(
        task.task_id, task_type, task.title, before, after, decision.policy, decision.why
    )


def _count_asked(decision: PolicyDecision, facts: Mapping[str, Any]) -> dict[str, int]:
    if decision.kind is not Outcome.REQUIRE:
        return {}
    return {each.role: each.count for each in decision.plan.requirements_for(facts["to_role"])}


def fetch_past_tasks(days: int, most: int | None = None) -> Iterator[PastTask]:
    """The tasks of the last ``days``, newest first, ``most`` at most; notifications left out.

    No connection is held while the caller works on a task.
    """
    # By key and not by a cursor, whose transaction would hold a connection.
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
        yield from (_read_row(*row) for row in rows)
        if len(rows) < limit:
            return
        last, before = rows[-1][0], rows[-1][5]
        if remaining is not None:
            remaining -= limit


def _read_row(
    task_id: UUID,
    payload: str,
    agent: str,
    verdict: str,
    policy: str,
    created_at: datetime,
    asked: str | None,
) -> PastTask:
    return PastTask(
        task_id=task_id,
        payload=payload,
        facts=PayloadFacts(payload, orjson.loads(payload) | {"agent": agent}),
        verdict=verdict,
        policy=policy,
        asked=orjson.loads(asked or "{}"),
        created_at=created_at.astimezone(UTC),
    )
