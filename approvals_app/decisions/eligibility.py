"""Who may vote on an approval, and who may override it. Every entry point asks here."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import Q

from approvals_app.errors import (
    AlreadyDecided,
    AnswerRequired,
    ApprovalExpired,
    ChangesRequested,
    HumansOnly,
    NoRightToOverride,
    NotEligible,
    OneVoiceEach,
    OverrideOverdue,
    ReauthenticationRequired,
    SecondFactorRequired,
    SeparationOfDuties,
)
from approvals_app.models import Approval, Override, Vote
from approvals_app.payload import questions
from audit_app.base.actors import Actor, ActorKind
from audit_app.base.errors import OrchestratorError
from audit_app.base.prepared import Prepared, prepared_cursor
from audit_app.models import Event
from sessions_app.models import Task

BREAK_GLASS = "approvals_app.break_glass"


def load_votes(approval: Approval) -> list[Vote]:
    """The votes cast in the decision that ``approval`` belongs to, on all of its approvals, oldest
    first."""
    # Once is enough in an operation: only the holder of the task's lock can add a vote.
    return _votes_in_decision(
        task=approval.task_id, revision=approval.revision, override=approval.override_id
    )


_votes_in_decision: Prepared[Vote] = Prepared(
    lambda **decision: Vote.objects.in_one_decision(**decision).select_related("voter")
)


def voting_seat(approval: Approval, by: Actor, now: datetime) -> int:
    """The id of the user in whose seat ``by`` may vote on ``approval``: their own if they can.

    Callers that cast a vote hold the locks of the approval and its task; pages may ask without.
    Being a superuser makes no difference. Raises HumansOnly, AlreadyDecided, ApprovalExpired,
    NotEligible, SeparationOfDuties, OneVoiceEach, and what ``check_assurance`` raises.
    """
    if not by.is_human:
        raise HumansOnly(approval, kind=by.kind)
    with prepared_cursor() as cursor:
        cursor.execute(BEST_SEAT, [approval.pk, int(by.id)])
        [(seat, code, reason)] = cursor.fetchall()
    if code:
        raise _build_refusal(approval, code, reason)
    # Last: nobody has to sign in again for a decision that is not theirs.
    check_assurance(by, now, approval)
    return int(seat)


# A usable seat first; then the obstacle that says more than "not a member of the group".
BEST_SEAT = """
SELECT seat, code, reason FROM voting_seats(%s, %s)
ORDER BY code IS NOT NULL, code = 'not_eligible', place, lent_at LIMIT 1
"""


def _build_refusal(approval: Approval, code: str, reason: str) -> OrchestratorError:
    """The error for a code of the SQL function voting_seats()."""
    match code:
        case "already_decided":
            return build_already_decided(approval)
        case "approval_expired":
            return ApprovalExpired(approval, expires_at=approval.expires_at.isoformat())
        case "not_eligible":
            return NotEligible(approval, role=approval.approver_role)
        case "separation_of_duties":
            return SeparationOfDuties(approval, why=reason)
        case "one_voice_each":
            return OneVoiceEach(approval)
    raise AssertionError(code)


def count_in_favour(approval: Approval, votes: list[Vote]) -> int:
    """How many of the recorded ``votes`` count towards approving ``approval``."""
    yes = [v for v in votes if v.approval_id == approval.pk and v.choice == Vote.Choice.YES]
    if len(yes) < 2:
        return len(yes)  # the last vote was checked when it was cast
    # An earlier voter may have left the group since.
    with prepared_cursor() as cursor:
        cursor.execute("SELECT count(*) FROM votes_in_favour(%s)", [approval.pk])
        [(count,)] = cursor.fetchall()
    return int(count)


def check_deadlines(task: Task, now: datetime) -> None:
    """Raise ApprovalExpired if a pending approval of ``task`` is past its deadline."""
    # expire_approvals may run later: no decision waits for it.
    late = task.approvals.pending().blocking().filter(expires_at__lte=now).first()
    if late:
        raise ApprovalExpired(late, expires_at=late.expires_at.isoformat())


def can_withdraw_votes(approval: Approval) -> bool:
    """Whether votes on ``approval``, locked with its task, can still be withdrawn."""
    if approval.status == Approval.Status.PENDING:
        return True
    # A no to an escalated approval still counts against the task, so it can be withdrawn.
    task = approval.task
    waits = task.status == Task.Status.AWAITING_APPROVAL and task.revision == approval.revision
    return approval.escalated_to_id is not None and waits


def check_no_changes_requested(approval: Approval, votes: list[Vote]) -> None:
    """Raise ChangesRequested if one of ``votes`` requests changes."""
    for vote in votes:
        if vote.choice == Vote.Choice.CHANGES:
            raise ChangesRequested(approval, by=vote.voter.get_username())


def check_may_override(approval: Approval, by: Actor, now: datetime) -> None:
    """Check that ``by`` may approve the whole task alone, in an emergency.

    Raises HumansOnly, NoRightToOverride, AlreadyDecided, SeparationOfDuties, AnswerRequired (the
    task is a question), OverrideOverdue, and what ``check_assurance`` raises.
    """
    if not by.is_human:
        raise HumansOnly(approval, kind=by.kind)
    if not may_break_glass(int(by.id)):
        raise NoRightToOverride(approval)
    if approval.status != Approval.Status.PENDING or approval.override_id:
        raise build_already_decided(approval)
    if why := _find_conflict_with_any(approval.task, int(by.id)):
        raise SeparationOfDuties(approval, why=why)
    if questions.is_question(approval.task.task_type):
        raise AnswerRequired(approval)
    if late := Override.objects.overdue().order_by("review_due_at").first():
        raise OverrideOverdue(approval, due=late.review_due_at.isoformat())
    check_assurance(by, now, approval)


def may_break_glass(user_id: int) -> bool:
    """Whether the active user has the permission to break the glass now, directly or by a group."""
    # Not has_perm(), which is true for every superuser.
    right = {"codename": "break_glass", "content_type__app_label": "approvals_app"}
    given = Q(**{f"user_permissions__{k}": v for k, v in right.items()}) | Q(
        **{f"groups__permissions__{k}": v for k, v in right.items()}
    )
    return User.objects.filter(given, pk=user_id, is_active=True).exists()


def conflict_of_interest(approval: Approval, person: int) -> str | None:
    """Why separation of duties bars ``person`` (a user's id) from deciding on ``approval``; None if
    it does not."""
    return _fetch_first("SELECT reason FROM conflict_of_interest(%s, %s)", [approval.pk, person])


def _find_conflict_with_any(task: Task, person: int) -> str | None:
    """Why ``person`` may not decide on ``task`` for everybody who is asked; None if they may."""
    return _fetch_first(CONFLICT_WITH_ANY, [person, task.pk, task.revision])


CONFLICT_WITH_ANY = """
SELECT conflict.reason FROM approvals AS asked
CROSS JOIN LATERAL conflict_of_interest(asked.id, %s) AS conflict
WHERE asked.task_id = %s AND asked.revision = %s AND asked.override_id IS NULL
    AND conflict.reason IS NOT NULL
LIMIT 1
"""


def _fetch_first(statement: str, values: list[Any]) -> str | None:
    with prepared_cursor() as cursor:
        cursor.execute(statement, values)
        row = cursor.fetchone()
    return row[0] if row else None


def check_assurance(by: Actor, now: datetime, approval: Approval | None = None) -> None:
    """Check that ``by`` signed in recently and strongly enough to decide at ``now``.

    Raises ReauthenticationRequired, SecondFactorRequired.
    """
    assurance, limit = by.assurance, settings.REAUTHENTICATE_AFTER
    # An identity provider that does not tell when somebody signed in is never recent enough.
    if limit and (assurance.authenticated_at is None or now - assurance.authenticated_at > limit):
        raise ReauthenticationRequired(approval)
    if settings.REQUIRE_SECOND_FACTOR != "never" and not assurance.second_factor:
        raise SecondFactorRequired(approval)


def build_already_decided(approval: Approval) -> AlreadyDecided:
    """The error that tells the second reviewer who was first, with what, and when.

    Without a decision that is who revised or cancelled the task, and why; ``waiting`` are the ids
    of the task's approvals that are pending now.
    """
    at = approval.decision_at or approval.updated_at
    data: dict[str, Any] = {
        "state": approval.status,
        "decided_by": "nobody",
        "decision_at": at.isoformat(),
        "allowed": [],
        "waiting": [str(pk) for pk in _list_pending(approval)],
    }
    if approval.decided_by:
        data["decided_by"] = approval.decided_by.get_username()
    elif last := _find_last_event(approval):
        kind, _, name = last.actor.partition(":")
        if kind != ActorKind.SYSTEM:
            data["decided_by"] = name
        data["why"] = last.metadata.get("reason", "")
    return AlreadyDecided(approval, **data)


def _list_pending(approval: Approval) -> list[UUID]:
    """The ids of the approvals that the task of ``approval`` waits for, its own group's first."""
    pending = approval.task.approvals.pending().blocking().order_by("approver_role")
    rows = pending.values_list("pk", "approver_role")
    return [pk for pk, role in sorted(rows, key=lambda row: row[1] != approval.approver_role)]


def _find_last_event(approval: Approval) -> Event | None:
    events = Event.objects.filter(subject_type=approval.subject_type, subject_id=approval.pk)
    return events.filter(seq=approval.version).first()
