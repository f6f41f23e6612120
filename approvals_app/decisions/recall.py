"""Recall: an approval is taken back before an agent claims the task."""

from enum import StrEnum
from typing import Any
from uuid import UUID

from approvals_app.decisions import eligibility, operations
from approvals_app.errors import HumansOnly, NoRightToRecall, RecallTooLate, ReviewPending
from approvals_app.models import Approval, Override
from approvals_app.policy.language import REJECT, Requirement
from audit_app.base.actors import Actor
from audit_app.base.errors import InvalidTransition
from audit_app.base.events import EventType
from audit_app.base.prepared import prepared_cursor
from audit_app.models import Event
from audit_app.trail.operation import clock, operation
from audit_app.trail.recording import perform
from sessions_app.models import Task
from sessions_app.tasks.revisions import reopen

WHY = "An approval of the task was recalled."


class Then(StrEnum):
    """What becomes of a recalled task."""

    CANCEL = "cancel"
    WAIT = "wait"


@operation("approval.recall")
def recall(approval_id: UUID, *, by: Actor, reason: str, then: Then) -> Task:
    """Take back an approval of a task that nobody claimed yet, and cancel the task or ask again.

    The task may still wait for its other approvals. Of a claim and a recall at once, the second
    waits for the row and is then refused. Asking again requests the same approvals of the same
    payload, as its next revision; no earlier vote counts, and a deadline that passes is no longer
    taken for a yes. Raises NotFound, HumansOnly, NoRightToRecall, AlreadyDecided (``approval_id``
    is of an earlier revision), RecallTooLate, InvalidTransition and, to ask again, ReviewPending
    and ApprovalExpired.
    """
    approval = Approval.objects.lock_visible_with_task(by, approval_id)
    check_may_recall(approval, by)
    task = approval.task
    details = {"reason": reason, "approval_id": str(approval.pk), **by.assurance.as_details()}
    if then is Then.CANCEL:
        perform(task.recall, by=by, details=details)
        operations.withdraw_pending(task, None, by=by, why=WHY)
        return task
    if Override.objects.filter(task=task, revision=task.revision, status="open").exists():
        # Its reviews are still pending, and a group decides on one approval of a task at a time.
        raise ReviewPending(approval)
    # A deadline that passed has ended the decision, whether or not its sweep has run.
    eligibility.check_deadlines(task, clock())
    # All that the task waited for, decided or not.
    current = task.approvals.blocking().filter(revision=task.revision, escalated_to=None)
    asked = list(current.order_by("created_at", "id"))
    reopen(task, by=by, details=details)
    operations.withdraw_pending(task, None, by=by, why=WHY)
    _request_again(task, asked, by=by, reason=reason)
    return task


def check_may_recall(approval: Approval, by: Actor) -> None:
    """Check that ``by`` may recall ``approval``.

    Raises HumansOnly, NoRightToRecall, AlreadyDecided, RecallTooLate, InvalidTransition.
    """
    task = approval.task
    if not by.is_human:
        raise HumansOnly(approval, kind=by.kind)
    if not may_recall(approval, int(by.id)):
        raise NoRightToRecall(approval)
    if approval.revision != task.revision:
        raise eligibility.build_already_decided(approval)
    if task.consumed_by_id is not None:
        raise RecallTooLate(approval, **_describe_claim(task))
    waits = task.status == Task.Status.AWAITING_APPROVAL
    if task.status != Task.Status.APPROVED and not (waits and approval.status == "approved"):
        allowed = task.transitions_allowed()
        raise InvalidTransition(
            approval, what="task", state=task.status, transition="recall", allowed=allowed
        )


def may_recall(approval: Approval, person: int) -> bool:
    """Whether ``person`` (a user's id) decided on the revision that ``approval`` is of, or was
    asked to."""
    with prepared_cursor() as cursor:
        values = [approval.task_id, approval.revision, person]
        cursor.execute("SELECT may_recall(%s, %s, %s)", values)
        [(allowed,)] = cursor.fetchall()
    return bool(allowed)


def _describe_claim(task: Task) -> dict[str, Any]:
    """Which agent claimed ``task`` first, and when."""
    claims = Event.objects.filter(subject_type=task.subject_type, subject_id=task.pk)
    first = claims.filter(event_type=EventType.TASK_CLAIMED).order_by("seq").first()
    assert first is not None
    assert task.consumed_by is not None
    return {
        "claimed_by": task.consumed_by.name,
        "claimed_at": first.timestamp.isoformat(),
        "state": task.status,
        "allowed": [],
    }


def _request_again(task: Task, asked: list[Approval], *, by: Actor, reason: str) -> None:
    """Request of each role what ``asked``, its approvals of the earlier revision, asked of it."""
    now = clock()
    # A role may have approved twice, since an agent can ask it again: the stricter terms hold.
    for role in sorted({each.approver_role for each in asked}):
        same_role = [each for each in asked if each.approver_role == role]
        last = same_role[-1]
        asker = next((e.requested_by_id for e in same_role if e.requested_by_id), None)
        operations.create_approval(
            task,
            Requirement(role, max(each.needed for each in same_role)),
            by=by,
            now=now,
            expires_at=now + (last.expires_at - last.created_at),
            # Somebody stopped this: no silence may approve it.
            at_deadline=last.at_deadline | {"then": REJECT},
            reminders=last.reminders,
            deny_threshold=min(each.deny_threshold for each in same_role),
            valid_for=last.valid_for,
            risk=last.risk,
            look_for=last.look_for,
            type_out=last.type_out,
            instruction=last.instruction,
            must_confirm=last.must_confirm,
            signed=last.signed,
            requested_by_id=asker,
            # Where an agent asked, the reason is its own words.
            reason=last.reason if asker else f"{by.name} recalled the approval: {reason}",
        )
