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
    ReauthenticationRequired,
    SecondFactorRequired,
    SeparationOfDuties,
)
from approvals_app.models import Approval
from audit_app.actors import Actor
from sessions_app.models import Agent, Task

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
    SeparationOfDuties, OneVoiceEach, ApprovalExpired, and what must_be_sure raises: last, so that
    nobody proves who they are for a decision that is not theirs.
    """
    if not by.is_human:
        raise HumansOnly(approval, kind=by.kind)
    if approval.status != Approval.Status.PENDING:
        raise already_decided(approval)
    if not _is_member(by, approval.approver_role):
        raise NotEligible(approval, role=approval.approver_role)
    if _owns(by, approval.task):
        raise SeparationOfDuties(approval)
    if Approval.objects.filter(task=approval.task_id, decided_by=int(by.id)).exists():
        raise OneVoiceEach(approval)
    if approval.expires_at <= now:
        raise ApprovalExpired(approval, expires_at=approval.expires_at.isoformat())
    must_be_sure(by, now, approval)


def must_be_sure(by: Actor, now: datetime, approval: Approval | None = None) -> None:
    """Whether ``by`` has proved who they are well enough to decide on anything at ``now``.

    A proof whose time nobody told is never recent. Raises ReauthenticationRequired,
    SecondFactorRequired.
    """
    proof, limit = by.assurance, settings.REAUTHENTICATE_AFTER
    if limit and (proof.authenticated_at is None or now - proof.authenticated_at > limit):
        raise ReauthenticationRequired(approval)
    if settings.REQUIRE_SECOND_FACTOR != "never" and not proof.second_factor:
        raise SecondFactorRequired(approval)


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


def _owns(by: Actor, task: Task) -> bool:
    """Asked of the database now: the owner may have changed while we waited for the lock."""
    return Agent.objects.filter(pk=task.agent_id, owner_id=int(by.id)).exists()


def _is_member(by: Actor, role: str) -> bool:
    return User.objects.filter(pk=by.id, is_active=True, groups__name=role).exists()
