"""What can be done to a task that was routed: revise, claim, extend, complete, fail, cancel."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from audit_app.base.actors import Actor
from audit_app.base.errors import InvalidTransition
from audit_app.trail.operation import clock, operation
from audit_app.trail.recording import perform
from sessions_app.errors import (
    AlreadyClaimed,
    ApprovalConsumed,
    ApprovalLapsed,
    NotClaimant,
    NotRouter,
    TaskTaken,
)
from sessions_app.freezes import has_passed
from sessions_app.gate import approval_gate
from sessions_app.models import Task
from sessions_app.operations import _holds, _open_session_of
from sessions_app.tasks.revisions import revise


@operation("task.revise")
def revise_task(
    task_id: UUID,
    *,
    by: Actor,
    description: str | None = None,
    data: Any = None,
    context: Any = None,
) -> Task:
    """The router's own next revision of a task that waits; None leaves a member as it is.

    Raises AgentsOnly, NotFound, NotRouter, InvalidTransition, NothingRevised.
    """
    by.require_agent()
    task = Task.objects.lock_visible(by, task_id)
    _routed_by(task, by)
    given = {"description": description, "data": data, "context": context}
    revise(task, by=by, changes={name: v for name, v in given.items() if v is not None})
    return task


@operation("task.claim")
def claim(task_id: UUID, *, by: Actor, lease: timedelta, session_id: UUID | None = None) -> Task:
    """Take an approved task of one of the agent's roles, to execute it until the lease runs out.

    A claim whose lease ran out is released first: that is recorded too. Of two concurrent
    claims, the second waits for the row and then gets TaskTaken, or AlreadyClaimed where the first
    is the same agent's. A notification can't be claimed, only acknowledged, since nobody was asked
    about it. What humans approved is executed once: the first claim uses their approval up, and
    only the agent that made it can claim again. Raises Frozen, NotFound, RoleNotHeld, TaskTaken,
    AlreadyClaimed, ApprovalConsumed, ApprovalLapsed, InvalidTransition, UnknownSession,
    SessionClosed.
    """
    agent = by.require_agent()
    task = Task.objects.lock_visible(by, task_id)
    _holds(by, task.to_role, task)
    if task.task_type == Task.NOTIFICATION:
        raise InvalidTransition(
            task, what="notification", state=task.status, transition="claim", allowed=["complete"]
        )
    session = _open_session_of(by, session_id) if session_id else None
    now = clock()
    if task.status == Task.Status.CLAIMED:
        end = _lease_end(task)
        if end > now or not has_passed(end, task, task.claimed_by_id):
            if task.claimed_by_id == agent:
                raise AlreadyClaimed(task, lease_expires_at=end.isoformat())
            raise TaskTaken(task)
        perform(task.release, by=Actor.system("lease"))
    _may_be_used(task, agent, now)
    perform(task.claim, by=by, agent_id=agent, session_id=session and session.pk, until=now + lease)
    return task


@operation("task.extend")
def extend(task_id: UUID, *, by: Actor, lease: timedelta, session_id: UUID | None = None) -> Task:
    """Extend the lease of a claimed task to ``lease`` from now, as its holder.

    Also after the lease ran out, until the task is released or claimed by somebody else. Raises
    NotFound, NotClaimant, InvalidTransition.
    """
    task = Task.objects.lock_visible(by, task_id)
    if task.status != Task.Status.CLAIMED:
        allowed = task.transitions_allowed()
        raise InvalidTransition(
            task, what="task", state=task.status, transition="extend", allowed=allowed
        )
    _check_claimant(task, by, session_id)
    until = clock() + lease
    perform(task.extend_lease, by=by, details={"lease_expires_at": until.isoformat()}, until=until)
    return task


@operation("task.complete")
def complete(
    task_id: UUID, *, by: Actor, result: Any = None, session_id: UUID | None = None
) -> Task:
    """Report a claimed task done; a notification needs no claim, to acknowledge it is enough.

    Who claimed last may report until somebody else claims, however long ago the lease or the
    approval ran out: a report of work that was done is not lost. Raises NotFound, NotClaimant,
    InvalidTransition.
    """
    task = Task.objects.lock_visible(by, task_id)
    if task.task_type == Task.NOTIFICATION and task.status == Task.Status.APPROVED:
        agent = by.require_agent()
        _holds(by, task.to_role, task)
        perform(task.claim, by=by, agent_id=agent, session_id=None, until=clock())
    else:
        _take_up(task, by, session_id)
    perform(task.complete, by=by, result=result)
    return task


@operation("task.fail")
def fail(task_id: UUID, *, by: Actor, error: Any = None, session_id: UUID | None = None) -> Task:
    """Report a claimed task failed. Raises as ``complete`` does."""
    task = Task.objects.lock_visible(by, task_id)
    _take_up(task, by, session_id)
    perform(task.fail, by=by, error=error)
    return task


@operation("task.cancel")
def cancel(task_id: UUID, *, by: Actor, reason: str = "") -> Task:
    """Take a task back, approvals and all. Raises NotFound, NotRouter, InvalidTransition."""
    task = Task.objects.lock_visible(by, task_id)
    _routed_by(task, by)
    perform(task.cancel, by=by, details={"reason": reason})
    approval_gate().withdraw_approvals(task, by=by, why="The task was cancelled.")
    return task


def _routed_by(task: Task, by: Actor) -> None:
    if not by.is_agent or task.agent_id != UUID(by.id):
        raise NotRouter(task)


def _may_be_used(task: Task, agent: UUID, now: datetime) -> None:
    """Whether the humans' approval of ``task``, if it needed any, is still good for ``agent``."""
    if task.status != Task.Status.APPROVED or task.approved_until is None:
        return
    if task.consumed_by_id not in (None, agent):
        raise ApprovalConsumed(task)
    # While it stands still, the trigger of freezes refuses the claim.
    if task.approved_until <= now and has_passed(task.approved_until, task, agent):
        raise ApprovalLapsed(task, approved_until=task.approved_until.isoformat())


def _lease_end(task: Task) -> datetime:
    assert task.lease_expires_at is not None  # constraint tasks_claimed_with_a_lease
    return task.lease_expires_at


def _take_up(task: Task, by: Actor, session_id: UUID | None) -> None:
    """Make sure that ``by`` holds the claim on which it reports. A claim whose lease ran out is
    taken up again where nobody else claimed since; in any other state nothing happens."""
    if task.status == Task.Status.CLAIMED:
        _check_claimant(task, by, session_id)
    elif task.status == Task.Status.APPROVED and _is_claimant(task, by, session_id):
        session = task.claimed_session_id
        perform(task.claim, by=by, agent_id=UUID(by.id), session_id=session, until=clock())


def _check_claimant(task: Task, by: Actor, session_id: UUID | None) -> None:
    if not _is_claimant(task, by, session_id):
        raise NotClaimant(task)


def _is_claimant(task: Task, by: Actor, session_id: UUID | None) -> bool:
    """Whether ``by`` claimed ``task`` last, and in this session if both name one."""
    # A release by an earlier version kept only the agent that used the humans' approval.
    claimant = task.claimed_by_id or task.consumed_by_id
    same_session = session_id is None or task.claimed_session_id in (None, session_id)
    return by.is_agent and claimant == UUID(by.id) and same_session
