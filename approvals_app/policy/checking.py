"""Finds conditions that may not mean what their authors meant, with past tasks to show."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Max

from approvals_app.models import ApprovalPolicy
from approvals_app.policy.conditions import (
    NAMES,
    ZONED,
    Condition,
    Facts,
    get_kind,
)
from approvals_app.policy.language import Policy, compile_condition, evaluate
from approvals_app.policy.runtime import ConditionFailed, ConditionInvalid
from approvals_app.policy.simulation import PastTask, fetch_past_tasks

DAYS: Final = 30
MOST_TASKS: Final = 1_000
EXAMPLES: Final = 3
RUNTIME_CHANGED_BY: Final = ("approvals_app", "0003_condition_runtime")
"""The migration with which another runtime began to evaluate conditions."""
ASCII_CLASSES: Final = re.compile(r"\\[dDsSwWbB]|\(\?i\)")

Member = tuple[str, str]
"""A variable and one of its members."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What to look at in a policy, in one sentence, with example tasks."""

    policy: str
    problem: str
    tasks: tuple[UUID, ...] = ()

    def __str__(self) -> str:
        examples = f" For example: {', '.join(map(str, self.tasks))}." if self.tasks else ""
        return f"{self.policy}: {self.problem}{examples}"


def check_policies(
    policies: Sequence[Policy],
    *,
    days: int = DAYS,
    most: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Finding]:
    """What is wrong with ``policies``, those in force, in the light of the last ``days``."""
    failures = {policy.name: _Failures(policy) for policy in policies if policy.condition}
    changes: dict[str, _Changes] = defaultdict(_Changes)
    since = ApprovalPolicy.objects.aggregate(at=Max("updated_at"))["at"]
    for number, task in enumerate(fetch_past_tasks(days, most), 1):
        for each in failures.values():
            each.add(task)
        if since and task.created_at > since:
            _compare(policies, task, changes)
        if number % 1_000 == 0:
            progress(f"Evaluated {number:,} tasks")
    findings: list[Finding] = []
    for policy in policies:
        findings += _find_invalid(policy)
        findings += _find_reworded(policy)
        findings += failures[policy.name].find() if policy.condition else []
        findings += changes[policy.name].find(policy.name) if policy.name in changes else []
    return findings


def find_warnings(policy: Policy) -> list[str]:
    """What fails on all of the last MOST_TASKS tasks in which a field has one kind of value."""
    if not policy.condition:
        return []
    failures = _Failures(policy)
    for task in fetch_past_tasks(DAYS, MOST_TASKS):
        failures.add(task)
    return [str(finding) for finding in failures.find()]


def _find_invalid(policy: Policy) -> Iterator[Finding]:
    if not policy.condition:
        return
    try:
        compile_condition(policy.condition).try_constants()
    except ConditionInvalid as error:
        yield Finding(policy.name, f"its condition always fails, so that a human is asked: {error}")


def _find_reworded(policy: Policy) -> Iterator[Finding]:
    """What the runtime before this one read differently, in a policy that it evaluated."""
    changed_at = _find_runtime_change()
    is_older = ApprovalPolicy.objects.filter(name=policy.name, updated_at__lt=changed_at).exists()
    if not is_older or not policy.condition:
        return
    try:
        condition = compile_condition(policy.condition)
    except ConditionInvalid:
        return
    for reason in _list_changes(condition):
        yield Finding(policy.name, f"{reason} Save it in other words if that is not what you mean.")


def _list_changes(condition: Condition) -> Iterator[str]:
    calls = condition.traits.calls
    for name in sorted(
        {name for name, given in calls if ZONED.fullmatch(name) and len(given) == 1}
    ):
        yield f"{name} is in UTC now; before, it was in the offset that the agent wrote."
    if any(name == "matches" for name, _ in calls) and ASCII_CLASSES.search(condition.text):
        yield "Classes such as \\d in a regular expression match ASCII alone now."
    if any(name == "size" for name, _ in calls):
        yield "size counts the characters of a text now; before, its bytes."
    if condition.traits.compared:
        yield (
            "It compares a field with constants: a value of another kind fails now; before, it was "
            "different from them."
        )


def _find_runtime_change() -> datetime | None:
    app, name = RUNTIME_CHANGED_BY
    applied = MigrationRecorder(connection).migration_qs.filter(app=app, name=name)
    at: datetime | None = applied.values_list("applied", flat=True).first()
    return at


def _compare(policies: Sequence[Policy], task: PastTask, changes: dict[str, "_Changes"]) -> None:
    """Note what is decided otherwise now, by policies that were the same then."""
    now = evaluate(policies, task.facts, settings.APPROVAL_DEFAULT)
    then = (task.verdict, task.policy)
    if (now.kind.value, now.policy) != then and (now.policy or task.policy):
        changes[task.policy or now.policy].add(task, now.kind.value)


@dataclass(slots=True)
class _Changes:
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    tasks: list[UUID] = field(default_factory=list)

    def add(self, task: PastTask, now: str) -> None:
        self.moves[task.verdict, now] += 1
        self.tasks = [*self.tasks, task.task_id][:EXAMPLES]

    def find(self, policy: str) -> Iterator[Finding]:
        moves = ", ".join(
            f"{count} {a} then, {b} now" for (a, b), count in sorted(self.moves.items())
        )
        problem = f"{_count(self.moves.total())} would be decided otherwise than it was: {moves}."
        yield Finding(policy, problem, tuple(self.tasks))


class _Failures:
    """How often a policy's condition failed, by the kind of value that each member had."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.evaluated: Counter[tuple[Member, str]] = Counter()
        self.failed: dict[tuple[Member, str], list[tuple[UUID, str]]] = defaultdict(list)

    def add(self, task: PastTask) -> None:
        if not self.policy.applies_to(task.facts):
            return
        try:
            condition = compile_condition(self.policy.condition)
        except ConditionInvalid:
            return  # said once for all tasks
        reason = ""
        try:
            condition.holds(Facts(task.facts))
        except ConditionFailed as failure:
            reason = str(failure)
        for member, kind in _list_kinds(condition, task.facts):
            self.evaluated[member, kind] += 1
            if reason:
                self.failed[member, kind].append((task.task_id, reason))

    def find(self) -> Iterator[Finding]:
        for (member, kind), tasks in sorted(self.failed.items()):
            if len(tasks) < self.evaluated[member, kind]:
                continue
            yield Finding(
                self.policy.name,
                f"its condition fails on every task in which {'.'.join(member)} is {kind} "
                f"({_count(len(tasks))}): {tasks[0][1]}",
                tuple(task for task, _ in tasks[:EXAMPLES]),
            )


def _list_kinds(condition: Condition, facts: dict[str, Any]) -> Iterator[tuple[Member, str]]:
    for variable, members in condition.traits.members.items():
        whole = facts[variable]
        for member in sorted(members or ()):
            if isinstance(whole, dict) and member in whole:
                yield (variable, member), NAMES[get_kind(whole[member])]
            else:
                yield (variable, member), "missing"


def _count(tasks: int) -> str:
    return f"{tasks:,} task" if tasks == 1 else f"{tasks:,} tasks"
