"""What can be done on this floor: an approval is requested, approved or rejected."""

from collections.abc import Callable
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError

from approvals_app import policies
from approvals_app.errors import ApprovalPending, PayloadDigestMismatch, TaskNotWaiting
from approvals_app.models import Approval
from audit_app.actors import Actor
from audit_app.canonical import digest
from audit_app.errors import AgentsOnly
from audit_app.events import EventType
from audit_app.operation import clock, operation, violated
from audit_app.trail import create, perform
from sessions_app.models import Task


@operation("approval.request")
def request(task_id: UUID, *, by: Actor, approver_role: str, reason: str = "") -> Approval:
    """Ask one more human about a task that waits already.

    Raises AgentsOnly, NotFound, TaskNotWaiting, ApprovalPending (the role is asked already).
    """
    if not by.is_agent:
        raise AgentsOnly(kind=by.kind)
    task = Task.objects.visible_to(by).locked(task_id)
    if task.status != Task.Status.AWAITING_APPROVAL:
        raise TaskNotWaiting(task, state=task.status, allowed=task.transitions_allowed())
    try:
        return ask(task, approver_role, by=by, reason=reason, requested_by_id=UUID(by.id))
    except IntegrityError as error:
        if violated(error) == "approvals_one_pending_per_role":
            raise ApprovalPending(task, role=approver_role) from error
        raise


@operation("approval.approve")
def approve(approval_id: UUID, *, by: Actor, payload_digest: str, notes: str = "") -> Approval:
    """Say yes to exactly the payload whose digest the reviewer saw.

    The last yes that a task waits for approves the task. Raises NotFound, what
    policies.may_decide raises, and PayloadDigestMismatch.
    """
    approval = Approval.objects.visible_to(by).locked_with_task(approval_id)
    _decide(approval, approval.approve, by=by, payload_digest=payload_digest, notes=notes)
    if not approval.task.approvals.pending().exists():
        perform(approval.task.approve, by=by, details=_evidence(approval))
    return approval


@operation("approval.reject")
def reject(approval_id: UUID, *, by: Actor, payload_digest: str, notes: str = "") -> Approval:
    """Say no: one no ends the task, and nobody else is asked any more.

    Raises as ``approve`` does.
    """
    approval = Approval.objects.visible_to(by).locked_with_task(approval_id)
    _decide(approval, approval.reject, by=by, payload_digest=payload_digest, notes=notes)
    perform(approval.task.reject, by=by, details=_evidence(approval))
    withdraw_pending(approval.task, by=by, why="Another approver rejected the task.")
    return approval


def ask(
    task: Task,
    approver_role: str,
    *,
    by: Actor,
    reason: str = "",
    requested_by_id: UUID | None = None,
) -> Approval:
    """Create one pending approval of ``task``: part of the operation that needs it."""
    approval = Approval(
        task=task,
        approver_role=approver_role,
        reason=reason,
        requested_by_id=requested_by_id,
        payload_digest=digest(task.payload),
        expires_at=clock() + settings.APPROVAL_TTL,
        trace_id=task.trace_id,
    )
    return create(
        approval,
        EventType.APPROVAL_REQUESTED,
        by=by,
        details={
            "task_id": str(task.pk),
            "payload_digest": approval.payload_digest,
            "reason": reason,
            "expires_at": approval.expires_at.isoformat(),
        },
    )


def withdraw_pending(task: Task, *, by: Actor, why: str) -> None:
    """Ask nobody about ``task``, which the caller has locked, any more."""
    for approval in task.approvals.pending().order_by("id").select_for_update(no_key=True):
        perform(approval.withdraw, by=by, details={"reason": why})


def _decide(
    approval: Approval,
    decision: Callable[..., None],
    *,
    by: Actor,
    payload_digest: str,
    notes: str,
) -> None:
    now = clock()
    policies.may_decide(approval, by, now)
    if payload_digest != approval.payload_digest:
        raise PayloadDigestMismatch(approval)
    perform(
        decision,
        by=by,
        details={"payload_digest": payload_digest, "notes": notes, **by.assurance.as_details()},
        decided_by_id=int(by.id),
        at=now,
        notes=notes,
    )


def _evidence(approval: Approval) -> dict[str, str]:
    return {"approval_id": str(approval.pk), "payload_digest": approval.payload_digest}
