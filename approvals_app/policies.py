"""Which tasks need whose yes, and who may give it. Asked by every door, answered in one place."""

from datetime import datetime

from django.conf import settings
from django.contrib.auth.models import User

from approvals_app.errors import (
    AlreadyDecided,
    ApprovalExpired,
    HumansOnly,
    NotEligible,
    OneVoiceEach,
    SeparationOfDuties,
)
from approvals_app.models import Approval
from audit_app.actors import Actor
from sessions_app.models import Task

ASKING_TYPES = ("approval", "approval_request")
ASKING_SUFFIX = "_approval"


def roles_needed(task: Task) -> list[str]:
    """The roles that must each say yes before ``task`` may be executed; none: it is approved."""
    if task.task_type == Task.NOTIFICATION:
        return []
    asks = task.task_type in ASKING_TYPES or task.task_type.endswith(ASKING_SUFFIX)
    if asks or settings.APPROVAL_DEFAULT == "require":
        return [task.to_role]
    return []


def may_decide(approval: Approval, by: Actor, now: datetime) -> None:
    """Whether ``by`` may decide on ``approval`` at ``now``; the caller holds the row's lock.

    The same rule for every door, and for superusers too; groups are read afresh, since they may
    have changed while we waited for the lock. Raises HumansOnly, AlreadyDecided, NotEligible,
    SeparationOfDuties, OneVoiceEach, ApprovalExpired.
    """
    if not by.is_human:
        raise HumansOnly(approval, kind=by.kind)
    if approval.status != Approval.Status.PENDING:
        raise already_decided(approval)
    if not _is_member(by, approval.approver_role):
        raise NotEligible(approval, role=approval.approver_role)
    if str(approval.task.agent.owner_id) == by.id:
        raise SeparationOfDuties(approval)
    if Approval.objects.filter(task=approval.task_id, decided_by=int(by.id)).exists():
        raise OneVoiceEach(approval)
    if approval.expires_at <= now:
        raise ApprovalExpired(approval, expires_at=approval.expires_at.isoformat())


def already_decided(approval: Approval) -> AlreadyDecided:
    """The conflict that tells the second reviewer who was first."""
    decider = approval.decided_by.get_username() if approval.decided_by else "nobody"
    at = approval.decision_at or approval.updated_at
    return AlreadyDecided(
        approval,
        state=approval.status,
        decided_by=decider,
        decision_at=at.isoformat(),
        allowed=[],
    )


def _is_member(by: Actor, role: str) -> bool:
    return User.objects.filter(pk=by.id, is_active=True, groups__name=role).exists()
