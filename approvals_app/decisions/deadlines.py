"""Applies passed deadlines and sends due reminders, in batches."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection

from approvals_app.decisions import eligibility, operations
from approvals_app.models import Approval, Vote
from approvals_app.payload import questions
from approvals_app.policy.language import Requirement
from audit_app.base.actors import Actor
from audit_app.trail.bulk import in_batches, perform_all
from audit_app.trail.operation import clock
from audit_app.trail.recording import perform
from sessions_app.models import Task

# Tasks are locked before approvals, as everywhere. SKIP LOCKED: several workers share the rows, and
# a row that somebody decides on is left for the next run.
DUE = """
SELECT approval.id, task.id,
    approval.at_deadline -> 'escalate' ->> 0 IS NULL
        AND coalesce(approval.at_deadline ->> 'then', 'reject') = 'reject'
FROM approvals AS approval JOIN tasks AS task ON task.id = approval.task_id
WHERE approval.status = 'pending' AND approval.expires_at <= clock_timestamp()
    AND approval.override_id IS NULL
    AND NOT EXISTS (SELECT FROM freezes_covering(
        task.agent_id, task.claimed_by_id, task.from_role, task.to_role) WHERE status = 'active')
ORDER BY approval.expires_at LIMIT %s
FOR NO KEY UPDATE OF task, approval SKIP LOCKED
"""


REMINDERS = """
SELECT approval.id FROM approvals AS approval JOIN tasks AS task ON task.id = approval.task_id
WHERE approval.status = 'pending' AND approval.remind_at <= clock_timestamp()
ORDER BY approval.remind_at LIMIT %s
FOR NO KEY UPDATE OF task, approval SKIP LOCKED
"""


def expire_approvals(*, by: Actor, batch_size: int) -> Iterator[int]:
    """Apply the timeout action of each overdue approval; yield each batch's size.

    By default the approval and its task expire, and the task's other approvals are withdrawn. A
    policy may instead escalate to another group or approve without a human.
    """

    def batch(limit: int) -> int:
        with connection.cursor() as cursor:
            cursor.execute(DUE, [limit])
            due = cursor.fetchall()
        for approval, _, ends in due:
            if not ends:
                _apply_deadline_action(approval, by=by)
        _expire_with_tasks([row for row in due if row[2]], by=by)
        return len(due)

    return in_batches(batch, batch_size)


def remind(*, by: Actor, batch_size: int) -> Iterator[int]:
    """Record the reminders that are due, for notifications to send; yield each batch's size."""

    def batch(limit: int) -> int:
        with connection.cursor() as cursor:
            cursor.execute(REMINDERS, [limit])
            due = [pk for (pk,) in cursor.fetchall()]
        now = clock()
        for approval in Approval.objects.filter(pk__in=due).order_by("remind_at"):
            again_at = operations.next_reminder(approval, now)
            perform(approval.remind, by=by, again_at=again_at)
        return len(due)

    return in_batches(batch, batch_size)


def _expire_with_tasks(due: list[tuple[UUID, UUID, bool]], *, by: Actor) -> None:
    """Expire the approvals and tasks of rows of DUE, all locked, in one statement each."""
    if not due:
        return
    tasks = list({task for _, task, _ in due})
    # perform_all skips locked rows, but no approval may be left pending: wait for their locks here.
    held = Approval.objects.pending().blocking().filter(task__in=tasks).order_by("id")
    list(held.select_for_update(no_key=True, of=("self",)).values_list("pk"))
    perform_all(
        Approval,
        Approval.expire,
        by=by,
        condition="row.id = ANY(%(approvals)s)",
        params={"approvals": [approval for approval, _, _ in due]},
        details={"reason": "The deadline passed."},
    )
    perform_all(
        Task, Task.expire, by=by, condition="row.id = ANY(%(tasks)s)", params={"tasks": tasks}
    )
    perform_all(
        Approval,
        Approval.withdraw,
        by=by,
        condition="row.task_id = ANY(%(tasks)s) AND row.override_id IS NULL",
        params={"tasks": tasks},
        details={"reason": "Another approval of the task expired."},
    )


def _apply_deadline_action(approval_id: UUID, *, by: Actor) -> None:
    """Escalate, approve without a human, or expire, as the approval's terms say.

    The caller has locked its row and its task's.
    """
    approval = Approval.objects.select_related("task", "override").get(pk=approval_id)
    # An earlier approval of the same batch may have changed this one.
    if approval.status != Approval.Status.PENDING:
        return
    now = clock()
    if approval.at_deadline["escalate"]:
        _escalate(approval, by=by)
        return
    # Silence is a yes only where nobody objected, and never an answer to a question.
    against = any(vote.choice != Vote.Choice.YES for vote in eligibility.load_votes(approval))
    if against or questions.is_question(approval.task.task_type):
        _expire_with_tasks([(approval.pk, approval.task_id, True)], by=by)
        return
    details = {"reason": "Nobody decided in time, which the policy takes for a yes."}
    perform(approval.approve_at_deadline, by=by, details=details, at=now)
    operations.conclude(approval, by=by, at=now)


def _escalate(approval: Approval, *, by: Actor) -> None:
    """Expire ``approval`` in favour of one by the next role, new or already pending.

    A role has at most one pending approval of a task: one that needs fewer votes is replaced.
    """
    step, *rest = approval.at_deadline["escalate"]
    now = clock()
    waiting = approval.task.approvals.pending().blocking().exclude(pk=approval.pk)
    existing = waiting.filter(approver_role=step["role"]).select_for_update(no_key=True).first()
    enough = existing is not None and existing.needed >= step["count"]
    existing_id = existing.pk if existing and enough else None
    replaced = [approval] if enough or existing is None else [approval, existing]
    terms: dict[str, Any] = {
        "expires_at": now + timedelta(seconds=step["seconds"]),
        "at_deadline": approval.at_deadline | {"escalate": rest},
        "reminders": approval.reminders,
        "deny_threshold": approval.deny_threshold,
        "valid_for": approval.valid_for,
        "risk": approval.risk,
        "look_for": approval.look_for,
        "type_out": approval.type_out,
        "instruction": approval.instruction,
        "must_confirm": approval.must_confirm,
        "signed": approval.signed,
    }
    following = Approval(**terms)  # for its id, to which the expired one refers
    for each in replaced:
        perform(
            each.expire,
            by=by,
            details={"reason": "The deadline passed.", "escalated_to": step["role"]},
            escalated_to_id=existing_id or following.pk,
        )
    if existing_id is None:
        requirement = Requirement(step["role"], step["count"])
        reason = f"{approval.approver_role} did not decide in time."
        operations.create_approval(
            approval.task, requirement, by=by, now=now, id=following.pk, reason=reason, **terms
        )
