"""Operations on approvals: request, approve, reject, request changes, withdraw, edit."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError

from approvals_app.decisions import eligibility, requirements, signatures, voters
from approvals_app.errors import (
    ApprovalPending,
    NotConfirmed,
    NoVote,
    PayloadDigestMismatch,
    TaskNotWaiting,
)
from approvals_app.models import Approval, Override, Vote
from approvals_app.payload import questions
from approvals_app.policy.language import TO_ROLE, Policy, Requirement
from audit_app.base.actors import Actor
from audit_app.base.canonical import digest
from audit_app.base.errors import AgentsOnly, Busy
from audit_app.base.events import EventType
from audit_app.base.prepared import Prepared
from audit_app.trail.bulk import create_all
from audit_app.trail.operation import clock, operation, violated_constraint
from audit_app.trail.recording import create, perform
from sessions_app.gate import Outcome, PolicyDecision
from sessions_app.models import Task
from sessions_app.tasks.revisions import revise


@operation("approval.request")
def request(task_id: UUID, *, by: Actor, approver_role: str, reason: str = "") -> Approval:
    """Request one more approval of a task that waits for approval.

    Raises AgentsOnly, NotFound, UnknownRole, TaskNotWaiting, ApprovalPending (one for the role is
    pending).
    """
    if not by.is_agent:
        raise AgentsOnly(kind=by.kind)
    task = Task.objects.lock_visible(by, task_id)
    voters.check_role_known(approver_role, field="approver_role")
    if task.status != Task.Status.AWAITING_APPROVAL:
        raise TaskNotWaiting(task, state=task.status, allowed=task.transitions_allowed())
    now = clock()
    terms = build_terms(task, Policy.default(approver_role), now)
    terms |= {"requested_by_id": UUID(by.id), "reason": reason}
    # A unique index decides between two requests at once.
    try:
        return create_approval(task, Requirement(approver_role), by=by, now=now, **terms)
    except IntegrityError as error:
        if violated_constraint(error) == "approvals_one_pending_per_role":
            raise ApprovalPending(task, role=approver_role) from error
        raise


@operation("approval.approve")
def approve(
    approval_id: UUID,
    *,
    by: Actor,
    payload_digest: str,
    notes: str = "",
    answer: Any = None,
    typed: str = "",
    confirmed: bool = False,
    assertion: Mapping[str, Any] | None = None,
) -> Approval:
    """Cast a yes on exactly the payload whose digest the reviewer saw.

    The last yes that an approval needs approves it, and the last approval that a task needs
    approves the task. ``answer`` answers a question; ``typed`` is the value that the policy
    requires to be typed; ``confirmed`` says that the caller followed the policy's instruction, and
    is kept with the vote; ``assertion`` is the signature of the voter's passkey (see
    ``signatures.sign_vote``). Raises NotFound, what ``eligibility.voting_seat`` raises,
    PayloadDigestMismatch, ChangesRequested, AnswerRequired, AnswerInvalid, LookFirst, NotTyped,
    NotConfirmed, SignatureRequired, SignatureInvalid.
    """
    approval = Approval.objects.lock_visible_with_task(by, approval_id)
    now = clock()
    if answer is not None or questions.is_question(approval.task.task_type):
        answer = questions.validate_answer(approval.task, answer)
    vote = {"payload_digest": payload_digest, "notes": notes, "answer": answer, "typed": typed}
    vote |= {"confirmed": confirmed, "assertion": assertion}
    votes = _cast_vote(approval, Vote.Choice.YES, by=by, now=now, **vote)
    if eligibility.count_in_favour(approval, votes) >= approval.needed:
        _decide(approval, approval.approve, votes[-1], by=by, at=now)
        conclude(approval, by=by, at=now)
    return approval


@operation("approval.reject")
def reject(
    approval_id: UUID,
    *,
    by: Actor,
    payload_digest: str,
    notes: str = "",
    assertion: Mapping[str, Any] | None = None,
) -> Approval:
    """Cast a no. ``deny_threshold`` noes, one by default, from all groups together reject the task
    and withdraw its other approvals.

    Raises NotFound, what ``eligibility.voting_seat`` raises, PayloadDigestMismatch,
    SignatureRequired and SignatureInvalid.
    """
    approval = Approval.objects.lock_visible_with_task(by, approval_id)
    now = clock()
    vote: dict[str, Any] = {"payload_digest": payload_digest, "notes": notes}
    vote["assertion"] = assertion
    votes = _cast_vote(approval, Vote.Choice.NO, by=by, now=now, **vote)
    if sum(each.choice == Vote.Choice.NO for each in votes) >= approval.deny_threshold:
        _decide(approval, approval.reject, votes[-1], by=by, at=now)
        if approval.override is None:
            perform(approval.task.reject, by=by, details=_evidence(approval))
        else:
            perform(approval.override.condemn, by=by, details=_evidence(approval))
            _cancel_unless_claimed(approval.task, by=by, because=approval)
        why = "Another approver rejected the task."
        withdraw_pending(approval.task, approval.override, by=by, why=why)
    return approval


@operation("approval.request_changes")
def request_changes(
    approval_id: UUID,
    *,
    by: Actor,
    payload_digest: str,
    message: str,
    assertion: Mapping[str, Any] | None = None,
) -> Approval:
    """Ask the agent for changes. Nobody can approve until it revises the task or this vote is
    withdrawn.

    Raises NotFound, what ``eligibility.voting_seat`` raises, PayloadDigestMismatch,
    SignatureRequired and SignatureInvalid.
    """
    approval = Approval.objects.lock_visible_with_task(by, approval_id)
    vote: dict[str, Any] = {"payload_digest": payload_digest, "notes": message}
    vote["assertion"] = assertion
    _cast_vote(approval, Vote.Choice.CHANGES, by=by, now=clock(), **vote)
    return approval


@operation("approval.withdraw_vote")
def withdraw_vote(approval_id: UUID, *, by: Actor, reason: str = "") -> Approval:
    """Withdraw the caller's vote before the decision is made.

    Raises NotFound, AlreadyDecided, NoVote.
    """
    approval = Approval.objects.lock_visible_with_task(by, approval_id)
    if not eligibility.can_withdraw_votes(approval):
        raise eligibility.build_already_decided(approval)
    votes = Vote.objects.cast().filter(approval=approval)
    vote = votes.filter(voter_id=int(by.id)).first() if by.is_human else None
    if vote is None:
        raise NoVote(approval)
    perform(vote.withdraw, by=by, details={"approval_id": str(approval.pk), "reason": reason})
    return approval


@operation("approval.edit")
def edit(
    approval_id: UUID,
    *,
    by: Actor,
    payload_digest: str,
    notes: str = "",
    description: str | None = None,
    data: Any = None,
    context: Any = None,
) -> Task:
    """Revise the task as a reviewer: the policies decide anew, and the editor can't approve it.

    None leaves a member as it is. Raises NotFound, what ``eligibility.voting_seat`` raises,
    PayloadDigestMismatch, InvalidTransition, NothingRevised.
    """
    approval = Approval.objects.lock_visible_with_task(by, approval_id)
    eligibility.voting_seat(approval, by, clock())
    _check_digest(approval, payload_digest)
    given = {"description": description, "data": data, "context": context}
    changes = {name: value for name, value in given.items() if value is not None}
    details = {"notes": notes, "approval_id": str(approval.pk), **by.assurance.as_details()}
    revise(approval.task, by=by, changes=changes, details=details)
    return approval.task


def create_approval(
    task: Task, requirement: Requirement, *, by: Actor, now: datetime, **terms: Any
) -> Approval:
    """Create one pending approval of ``task``, within the caller's operation.

    ``terms`` are further columns: those of ``build_terms``, reason, override, …
    """
    approval = _build_approval(task, requirement, now, terms)
    return create(approval, EventType.APPROVAL_REQUESTED, by=by)


def create_approvals(
    decided: Iterable[tuple[Task, PolicyDecision]], *, by: Actor
) -> list[Approval]:
    """Create the approvals that each task needs by its policy decision, all in one statement, and
    return them.

    The tasks were just created or revised: their deadlines count from ``updated_at``.
    """
    approvals = [
        _build_approval(
            task, requirement, task.updated_at, build_terms(task, decision.plan, task.updated_at)
        )
        for task, decision in decided
        if decision.kind is Outcome.REQUIRE
        for requirement in decision.plan.requirements_for(task.to_role)
    ]
    return create_all(approvals, EventType.APPROVAL_REQUESTED, by=by)


def build_terms(task: Task, plan: Policy, now: datetime) -> dict[str, Any]:
    """The columns of an approval that ``plan`` sets: deadline, escalation, thresholds, care."""
    # Copied to the approval: a later change of the policy does not alter a pending decision.
    steps = [
        {
            "role": task.to_role if step.role == TO_ROLE else step.role,
            "count": step.count,
            "seconds": step.deadline.total_seconds(),
        }
        for step in plan.escalate
    ]
    return {
        "expires_at": now + (plan.deadline or settings.APPROVAL_TTL),
        "at_deadline": {"escalate": steps, "then": plan.on_timeout},
        "reminders": [reminder.total_seconds() for reminder in plan.reminders],
        "deny_threshold": plan.deny_threshold,
        "valid_for": plan.valid_for,
        "risk": plan.risk,
        "look_for": plan.look_for,
        "type_out": plan.type_out,
        "instruction": plan.instructions or plan.description.strip(),
        "must_confirm": bool(plan.instructions),
        "signed": plan.signed,
    }


def next_reminder(approval: Approval, now: datetime) -> datetime | None:
    """When the approvers are to be reminded next, after ``now``; None if never."""
    times = [approval.expires_at - timedelta(seconds=s) for s in approval.reminders]
    return min((at for at in times if at > now), default=None)


def conclude(approval: Approval, *, by: Actor, at: datetime) -> None:
    """Approve the task, or uphold the override, if ``approval``, just approved, was the last one.

    The task can be claimed for the shortest ``valid_for`` of its approvals.
    """
    task, override = approval.task, approval.override
    # The task is locked: nobody else can decide its last but one approval meanwhile.
    rows = _approval_states(task=task.pk, revision=approval.revision, override=approval.override_id)
    if any(status == Approval.Status.PENDING for status, _ in rows):
        return
    if override:
        perform(override.uphold, by=by, details=_evidence(approval))
        return
    lengths = [length for _, length in rows if length]
    until = at + min(lengths, default=settings.APPROVAL_VALID_FOR)
    details = {**_evidence(approval), "approved_until": until.isoformat()}
    perform(task.approve, by=by, details=details, until=until)


_approval_states: Prepared[tuple[str, timedelta | None]] = Prepared(
    lambda **decision: (
        Approval.objects.filter(**decision).order_by().values_list("status", "valid_for")
    )
)


def withdraw_pending(task: Task, override: Override | None, *, by: Actor, why: str) -> None:
    """Withdraw the pending approvals of ``task``, which the caller has locked: those it waits for,
    or, with ``override``, those that review it."""
    # Locked in order of id: two operations never wait for each other.
    pending = task.approvals.pending().filter(override=override).order_by("id")
    for approval in pending.select_for_update(no_key=True, of=("self",)):
        perform(approval.withdraw, by=by, details={"reason": why})


def _build_approval(
    task: Task, requirement: Requirement, now: datetime, terms: dict[str, Any]
) -> Approval:
    """A pending approval, not saved."""
    approval = Approval(
        task=task,
        approver_role=requirement.role,
        needed=requirement.count,
        revision=task.revision,
        payload_digest=digest(task.payload),
        trace_id=task.trace_id,
        **terms,
    )
    if approval.reminders:
        approval.remind_at = next_reminder(approval, now)
    return approval


def _cast_vote(
    approval: Approval,
    choice: Vote.Choice,
    *,
    by: Actor,
    now: datetime,
    payload_digest: str,
    notes: str,
    answer: Any = None,
    typed: str = "",
    confirmed: bool = False,
    assertion: Mapping[str, Any] | None = None,
) -> list[Vote]:
    """Cast a vote in the caller's own seat or a delegator's.

    Returns all votes of the decision, the new one last. Raises as ``approve`` does, and Busy.
    """
    votes = eligibility.load_votes(approval)
    seat = eligibility.voting_seat(approval, by, now)
    _check_digest(approval, payload_digest)
    review_time = requirements.measure_review_time(approval, by, now)
    if choice is Vote.Choice.YES:
        eligibility.check_no_changes_requested(approval, votes)
        requirements.check_requirements(approval, review_time, typed)
        if approval.must_confirm and not confirmed:
            raise NotConfirmed(approval, field="confirmed", instruction=approval.instruction)
    vote = Vote(
        approval=approval,
        voter_id=int(by.id),
        seat_of_id=seat,
        choice=choice,
        payload_digest=payload_digest,
        notes=notes,
        answer=answer,
        confirmed_instruction=approval.instruction if confirmed else "",
        role=approval.approver_role,
        trace_id=approval.trace_id,
    )
    # Last: nobody is asked for a passkey for a vote that is refused anyway.
    if assertion or approval.signed != Approval.Signed.NO:
        signatures.sign_vote(vote, assertion)
    details = by.assurance.as_details()
    if vote.assertion is not None:
        details["assertion_digest"] = signatures.digest_assertion(vote.assertion)
    if answer is not None:
        details["answer"] = answer
    if choice is Vote.Choice.YES and approval.type_out:
        details["type_out"] = approval.type_out
    if vote.confirmed_instruction:
        details["confirmed_instruction"] = vote.confirmed_instruction
    if review_time is not None:
        details["looked_seconds"] = int(review_time.total_seconds())
    try:
        return [*votes, create(vote, EventType.VOTE_CAST, by=by, details=details)]
    except IntegrityError as error:  # a group, an owner or a delegation changed meanwhile
        raise Busy from error


def _decide(
    approval: Approval, decision: Callable[..., None], vote: Vote, *, by: Actor, at: datetime
) -> None:
    details = {
        "payload_digest": vote.payload_digest,
        "notes": vote.notes,
        "vote_id": str(vote.pk),
        **by.assurance.as_details(),
    }
    perform(decision, by=by, details=details, decided_by_id=int(by.id), at=at, notes=vote.notes)


def _cancel_unless_claimed(task: Task, *, by: Actor, because: Approval) -> None:
    # A claimed task is already being executed: its agent has to end it.
    # Nor is what was recalled and approved by others since.
    if task.status == Task.Status.APPROVED and task.revision == because.revision:
        perform(task.cancel, by=by, details=_evidence(because))


def _check_digest(approval: Approval, payload_digest: str) -> None:
    if payload_digest != approval.payload_digest:
        raise PayloadDigestMismatch(approval)


def _evidence(approval: Approval) -> dict[str, str]:
    return {"approval_id": str(approval.pk), "payload_digest": approval.payload_digest}
