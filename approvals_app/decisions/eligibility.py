"""Which tasks need whose yes, and who may give it. Asked by every door, answered in one place."""

from datetime import datetime
from typing import Any

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
from audit_app.base.actors import Actor
from audit_app.base.errors import OrchestratorError
from audit_app.base.prepared import Prepared, planned_once
from sessions_app.models import Task

BREAK_GLASS = "approvals_app.break_glass"


def load_votes(approval: Approval) -> list[Vote]:
    """What was said in this decision so far, on all of its approvals: asked once, since whoever
    holds the task's lock is the only one who can add to it."""
    return _votes_in_decision(
        task=approval.task_id, revision=approval.revision, override=approval.override_id
    )


_votes_in_decision: Prepared[Vote] = Prepared(
    lambda **decision: Vote.objects.in_one_decision(**decision).select_related("voter")
)


def voting_seat(approval: Approval, by: Actor, now: datetime) -> int:
    """In whose seat ``by`` may vote on ``approval``: a user's id, their own where they can.

    Whoever decides holds the lock of the approval and its task, so that what vote_obstacle() says
    still holds when the vote is cast; a page may ask without. Superusers are asked like anybody.
    Raises HumansOnly, what _refusal makes of the obstacle, and what must_be_sure raises: last, so
    that nobody proves who they are for a decision that is not theirs.
    """
    if not by.is_human:
        raise HumansOnly(approval, kind=by.kind)
    with planned_once() as cursor:
        cursor.execute(BEST_SEAT, [approval.pk, int(by.id)])
        [(seat, code, reason)] = cursor.fetchall()
    if code:
        raise _build_refusal(approval, code, reason)
    check_assurance(by, now, approval)
    return int(seat)


# First a seat that can be used, then one of which more is to be said than that it is not theirs.
BEST_SEAT = """
SELECT seat, code, reason FROM voting_seats(%s, %s)
ORDER BY code IS NOT NULL, code = 'not_eligible', place, lent_at LIMIT 1
"""


def _build_refusal(approval: Approval, code: str, reason: str) -> OrchestratorError:
    """The error that vote_obstacle() names."""
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


def count_in_favour(approval: Approval, said: list[Vote]) -> int:
    """How many of the voices ``said``, which are recorded, let ``approval`` be approved."""
    yes = [v for v in said if v.approval_id == approval.pk and v.choice == Vote.Choice.YES]
    if len(yes) < 2:
        return len(yes)  # the last one was judged a moment ago
    with planned_once() as cursor:
        cursor.execute("SELECT count(*) FROM votes_in_favour(%s)", [approval.pk])
        [(count,)] = cursor.fetchall()
    return int(count)


def check_deadlines(task: Task, now: datetime) -> None:
    """Raises ApprovalExpired where a deadline of ``task`` has passed, and nobody did yet what is to
    happen then."""
    late = task.approvals.pending().blocking().filter(expires_at__lte=now).first()
    if late:
        raise ApprovalExpired(late, expires_at=late.expires_at.isoformat())


def can_withdraw_votes(approval: Approval) -> bool:
    """Whether what was said of ``approval``, locked with its task, can still be taken back: what
    speaks against a task counts on where others are asked instead."""
    if approval.status == Approval.Status.PENDING:
        return True
    task = approval.task
    waits = task.status == Task.Status.AWAITING_APPROVAL and task.revision == approval.revision
    return approval.escalated_to_id is not None and waits


def check_no_changes_requested(approval: Approval, said: list[Vote]) -> None:
    """Raises ChangesRequested while somebody does."""
    for vote in said:
        if vote.choice == Vote.Choice.CHANGES:
            raise ChangesRequested(approval, by=vote.voter.get_username())


def check_may_override(approval: Approval, by: Actor, now: datetime) -> None:
    """Whether ``by`` may approve the whole task alone, in an emergency.

    The right is given to a person or a group as such: a superuser does not have it by being one.
    Raises HumansOnly, NoRightToOverride, AlreadyDecided, SeparationOfDuties, OverrideOverdue, and
    what must_be_sure raises.
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
    """As it is now; on a page, ``by.rights`` says as much of a moment ago."""
    right = {"codename": "break_glass", "content_type__app_label": "approvals_app"}
    given = Q(**{f"user_permissions__{k}": v for k, v in right.items()}) | Q(
        **{f"groups__permissions__{k}": v for k, v in right.items()}
    )
    return User.objects.filter(given, pk=user_id, is_active=True).exists()


def conflict_of_interest(approval: Approval, person: int) -> str | None:
    """Why ``person`` (a user's id) may not decide on ``approval``; None: separation of duties does
    not exclude them."""
    return _fetch_first("SELECT reason FROM conflict_of_interest(%s, %s)", [approval.pk, person])


def _find_conflict_with_any(task: Task, person: int) -> str | None:
    """Why ``person`` may not decide on ``task`` alone: for all of those who are asked."""
    return _fetch_first(CONFLICT_WITH_ANY, [person, task.pk, task.revision])


CONFLICT_WITH_ANY = """
SELECT conflict.reason FROM approvals AS asked
CROSS JOIN LATERAL conflict_of_interest(asked.id, %s) AS conflict
WHERE asked.task_id = %s AND asked.revision = %s AND asked.override_id IS NULL
    AND conflict.reason IS NOT NULL
LIMIT 1
"""


def _fetch_first(statement: str, values: list[Any]) -> str | None:
    with planned_once() as cursor:
        cursor.execute(statement, values)
        found = cursor.fetchone()
    return found[0] if found else None


def check_assurance(by: Actor, now: datetime, approval: Approval | None = None) -> None:
    """Whether ``by`` has proved who they are well enough to decide on anything at ``now``.

    A proof whose time nobody told is never recent. Raises ReauthenticationRequired,
    SecondFactorRequired.
    """
    proof, limit = by.assurance, settings.REAUTHENTICATE_AFTER
    if limit and (proof.authenticated_at is None or now - proof.authenticated_at > limit):
        raise ReauthenticationRequired(approval)
    if settings.REQUIRE_SECOND_FACTOR != "never" and not proof.second_factor:
        raise SecondFactorRequired(approval)


def build_already_decided(approval: Approval) -> AlreadyDecided:
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
