"""How many people may decide, and what nobody can decide.

Who may vote, approval_voters() says in SQL.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.cache import cache
from django.db import connection

from approvals_app.errors import UnknownRole
from approvals_app.models import Approval
from audit_app.base.errors import OrchestratorError
from audit_app.base.prepared import prepared_cursor
from sessions_app.gate import Outcome, PolicyDecision
from sessions_app.models import Task

MOST_COUNTED = 100
"""People are counted up to this number: whether a few or nobody may decide is what matters."""
KNOWN_FOR = 60
"""Seconds for which a role that was known is taken to be known."""

# PostgreSQL keeps one plan for it however many approvals there are: it expects as many of any JSON.
COUNT_VOTERS = """
SELECT asked.id, (
    SELECT count(*) FROM (SELECT FROM approval_voters(asked.id::uuid) LIMIT %s) AS voter)
FROM json_array_elements_text(%s::json) AS asked (id)
"""
# Those who may vote are counted up to how many are needed.
UNDECIDABLE = """
SELECT asked.id, asked.approver_role, asked.missing, counted.eligible
FROM (
    SELECT id, approver_role, needed - (SELECT count(*) FROM votes_in_favour(id)) AS missing
    FROM approvals
    WHERE id = ANY(%s::uuid[]) AND approval_obstacle(status, expires_at, override_id) IS NULL
) AS asked CROSS JOIN LATERAL (
    SELECT count(*) AS eligible
    FROM (SELECT FROM approval_voters(asked.id) LIMIT asked.missing) AS voter) AS counted
WHERE counted.eligible < asked.missing
"""
UNKNOWN = """
SELECT role FROM unnest(%s::text[]) AS role
WHERE NOT EXISTS (SELECT FROM auth_group WHERE name = role)
  AND NOT EXISTS (SELECT FROM agents WHERE status = 'active' AND role = ANY(roles))
  AND NOT EXISTS (SELECT FROM approval_policies WHERE status = 'active' AND (
    rule #>> '{when,to_role}' = role
    OR rule @> jsonb_build_object('approvals', jsonb_build_array(jsonb_build_object('role', role)))
    OR rule @> jsonb_build_object('escalate', jsonb_build_array(jsonb_build_object('role', role)))))
"""


def count_eligible(approvals: Sequence[Approval]) -> dict[UUID, int]:
    """How many people may decide now on each task that one agent just routed, by the task's id: of
    its ``approvals``, the one with the fewest; at most MOST_COUNTED. At most one statement."""
    # Requests of one agent to one role, for the same person, have the same voters: one of them is
    # counted for all, so that a batch costs little more than one task.
    alike: dict[tuple[str, str], list[Approval]] = {}
    for approval in approvals:
        key = (approval.approver_role, approval.task.on_behalf_of.upper())
        alike.setdefault(key, []).append(approval)
    counts = _count_voters([same[0].pk for same in alike.values()])
    eligible: dict[UUID, int] = {}
    for same in alike.values():
        for approval in same:
            count = counts[same[0].pk]
            eligible[approval.task_id] = min(count, eligible.get(approval.task_id, count))
    return eligible


def _count_voters(approvals: list[UUID]) -> dict[UUID, int]:
    if not approvals:
        return {}
    with prepared_cursor() as cursor:
        cursor.execute(COUNT_VOTERS, [MOST_COUNTED, json.dumps([str(pk) for pk in approvals])])
        return {UUID(pk): count for pk, count in cursor.fetchall()}


@dataclass(frozen=True, slots=True)
class Undecidable:
    """An approval that still needs ``missing`` approving votes, which only ``eligible`` people may
    cast now: fewer."""

    approval_id: UUID
    role: str
    missing: int
    eligible: int

    @property
    def sentence(self) -> str:
        if self.eligible == 0:
            return f"Nobody can decide for {self.role} now."
        return (
            f"{self.role} still needs {self.missing} approvals, but only {self.eligible} can be "
            "given now."
        )


def find_undecidable(approvals: Collection[UUID]) -> dict[UUID, Undecidable]:
    """Those of ``approvals`` that can't be decided now, by id. At most one statement."""
    if not approvals:
        return {}
    with prepared_cursor() as cursor:
        cursor.execute(UNDECIDABLE, [list(approvals)])
        return {row[0]: Undecidable(*row) for row in cursor.fetchall()}


def check_role_known(role: str, *, field: str) -> None:
    """Check that a group, a policy or an agent knows ``role``. Raises UnknownRole."""
    if role in find_unknown_roles({role}):
        raise UnknownRole(field=field, role=role)


def refuse_unknown_roles(
    tasks: Sequence[Task], decisions: Sequence[PolicyDecision | OrchestratorError]
) -> list[PolicyDecision | OrchestratorError]:
    """``decisions``, with UnknownRole for each task that would ask a role that nobody knows."""
    # What a policy names is known by that: only a task's own target can be unknown.
    asked = {
        task.to_role
        for task, decision in zip(tasks, decisions, strict=True)
        if _asks_target(task, decision)
    }
    unknown = find_unknown_roles(asked)
    return [
        UnknownRole(field="target", role=task.to_role)
        if task.to_role in unknown and _asks_target(task, decision)
        else decision
        for task, decision in zip(tasks, decisions, strict=True)
    ]


def find_unknown_roles(roles: set[str]) -> set[str]:
    """Those of ``roles`` that no group, policy in force or active agent knows: nobody could decide
    for them. None where ALLOW_UNKNOWN_ROLES is on."""
    if settings.ALLOW_UNKNOWN_ROLES or not roles:
        return set()
    # Only that a role is known is cached: a new group counts at once.
    names = {role: f"known-role:{role.encode().hex()}" for role in roles}
    known = cache.get_many(names.values())
    asked = [role for role in roles if names[role] not in known]
    if not asked:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(UNKNOWN, [asked])
        unknown = {role for (role,) in cursor.fetchall()}
    cache.set_many({names[role]: True for role in asked if role not in unknown}, KNOWN_FOR)
    return unknown


def _asks_target(task: Task, decision: PolicyDecision | OrchestratorError) -> bool:
    if isinstance(decision, OrchestratorError) or decision.kind is not Outcome.REQUIRE:
        return False
    requirements: Any = decision.plan.requirements_for(task.to_role)
    return any(required.role == task.to_role for required in requirements)
