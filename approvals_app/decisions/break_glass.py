"""Break glass: one person approves a task alone, and the others review it afterwards."""

from uuid import UUID

from django.conf import settings

from approvals_app.decisions import eligibility, operations
from approvals_app.errors import ApprovalExpired, PayloadDigestMismatch
from approvals_app.models import Approval, Override
from approvals_app.policy.language import Requirement
from audit_app.base.actors import Actor
from audit_app.base.events import EventType
from audit_app.trail.operation import clock, operation
from audit_app.trail.recording import create, perform


@operation("approval.break_glass")
def break_glass(approval_id: UUID, *, by: Actor, payload_digest: str, reason: str) -> Override:
    """Approve the whole task now, alone, for ``reason``.

    Every group that was asked must review it within BREAK_GLASS_REVIEW, with its full quorum and
    without the person who did it. Raises NotFound, what ``eligibility.check_may_override`` raises,
    PayloadDigestMismatch, and ApprovalExpired if any of the deadlines has passed.
    """
    approval = Approval.objects.lock_visible_with_task(by, approval_id)
    now, task = clock(), approval.task
    eligibility.check_may_override(approval, by, now)
    if payload_digest != approval.payload_digest:
        raise PayloadDigestMismatch(approval)
    override = Override(
        task=task,
        revision=task.revision,
        payload_digest=payload_digest,
        opened_by_id=int(by.id),
        reason=reason,
        review_due_at=now + settings.BREAK_GLASS_REVIEW,
        role=task.to_role,
        trace_id=task.trace_id,
    )
    evidence = {"override_id": str(override.pk), "payload_digest": payload_digest, "reason": reason}
    create(override, EventType.OVERRIDE_OPENED, by=by, details=evidence | by.assurance.as_details())
    blocking = task.approvals.blocking().filter(revision=task.revision, escalated_to=None)
    decision = {"decided_by_id": int(by.id), "at": now, "notes": reason}
    # Locked in order of id: two operations never wait for each other.
    approvals = list(blocking.order_by("id").select_for_update(no_key=True, of=("self",)))
    for each in approvals:
        if each.status == Approval.Status.PENDING:
            if each.expires_at <= now:
                raise ApprovalExpired(each, expires_at=each.expires_at.isoformat())
            perform(each.approve, by=by, details=evidence, **decision)
    operations.conclude(approval, by=by, at=now)
    # A role that was escalated to may have several: its review takes the strictest terms.
    roles = sorted({each.approver_role for each in approvals})
    for role in roles:
        same_role = [each for each in approvals if each.approver_role == role]
        operations.create_approval(
            task,
            Requirement(role, max(each.needed for each in same_role)),
            by=by,
            now=now,
            override=override,
            expires_at=override.review_due_at,
            deny_threshold=min(each.deny_threshold for each in same_role),
            risk=min((each.risk for each in same_role), key=Approval.Risk.values.index),
            signed=min((each.signed for each in same_role), key=Approval.Signed.values.index),
            reason="Reviews what was approved alone.",
        )
    return override
