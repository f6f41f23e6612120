"""What a task asks for: judged when it is routed, and again with each revision of it."""

from copy import copy
from typing import Any

from audit_app.base.actors import Actor
from audit_app.base.errors import InvalidTransition, OrchestratorError
from audit_app.trail.recording import perform
from sessions_app.errors import NothingRevised
from sessions_app.gate import Outcome, approval_gate
from sessions_app.models import Task, TaskRevision


def revise(
    task: Task, *, by: Actor, changes: dict[str, Any], details: dict[str, Any] | None = None
) -> None:
    """Give ``task``, which the caller has locked, another payload: part of an operation.

    The old payload is kept as a TaskRevision and its approvals are withdrawn. The new payload is
    evaluated as if it were routed now. Raises InvalidTransition, NothingRevised.
    """
    if task.status != Task.Status.AWAITING_APPROVAL:
        allowed = task.transitions_allowed()
        raise InvalidTransition(
            task, what="task", state=task.status, transition="revise", allowed=allowed
        )
    gate = approval_gate()
    gate.check_revisable(task)
    revised = copy(task)
    for name, value in changes.items():
        setattr(revised, name, value)
    revised.seal_payload()
    if revised.payload == task.payload:
        raise NothingRevised(task)
    _keep_revision(task)
    gate.withdraw_approvals(task, by=by, why="The task was revised.")
    (decision,) = gate.evaluate([revised])
    if isinstance(decision, OrchestratorError):
        raise decision
    digests = {"payload_digest": revised.payload_digest, "replaces": task.payload_digest}
    perform(
        task.revise,
        by=by,
        details=digests | decision.as_details() | (details or {}),
        edited_by_id=int(by.id) if by.is_human else None,
        decision=decision,
        **changes,
    )
    # The event that decides says on what: whoever checks a receipt's proof has this event alone.
    decided = {"payload_digest": task.payload_digest}
    if decision.kind is Outcome.APPROVE:
        perform(task.approve, by=Actor.system("policy"), details=decided)
    elif decision.kind is Outcome.REFUSE:
        perform(task.reject, by=Actor.system("policy"), details=decided)
    gate.request_approvals([(task, decision)], by=by)


def reopen(task: Task, *, by: Actor, details: dict[str, Any]) -> None:
    """Let ``task``, locked and never claimed, wait anew with the payload that it has, as its next
    revision: part of an operation, which requests the approvals."""
    _keep_revision(task)
    digests = {"payload_digest": task.payload_digest, "replaces": task.payload_digest}
    if task.status == Task.Status.APPROVED:
        # The event that approved it says until when; that holds no longer.
        perform(task.reopen, by=by, details={**digests, "approved_until": None, **details})
    else:
        perform(task.ask_again, by=by, details=digests | details)


def _keep_revision(task: Task) -> None:
    TaskRevision.objects.create(
        task=task, number=task.revision, payload=task.payload, edited_by_id=task.edited_by_id
    )
